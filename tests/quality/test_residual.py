"""Residual personal data is counted and never shown, its rate is estimated with an interval, and a leaking tenant fails the check."""

from __future__ import annotations

import re
from math import comb
from random import Random
from time import thread_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import quality
from core import artifacts
from core.entities import ENTITIES
from core.policy import Privacy
from core.records import Block, Link, Redacted, decode, encode
from pipelines.app import Headrace
from pipelines.governance import tenants
from pipelines.operations.checks import check
from pipelines.operations.residual_sample import claim as claim_of
from quality import Check
from quality.residual.check import ERRORS, Claim, Document
from quality.residual.estimate import EACH, LONGEST, Errors, SampledDocument, corrected, draw, interval, share
from tests.tenant_fixture import publish

pytestmark = pytest.mark.slow

NAMES = Claim(("PERSON", "LOCATION", "ADDRESS", "EMAIL", "PHONE"))
PLAIN = (
    "The shaft seal is inspected once a year, and greased before the winter.",
    "Orders above a thousand euros need a second signature by the office.",
    "On Monday the pump in hall two was replaced within four hours.",
    "Version 3.11.4 took 1,250 ms at 10.5 bar, 12 % less than in 2019-2020; see 4.2.1 and 100181/108.",
)


def judged(*texts: str, claim: Claim | None = None) -> Check:
    """The check for a tenant whose one document has these texts."""
    return quality.residual_pii([Document(texts)], claim=claim)


def shown(check: Check) -> str:
    return " ".join((check.name, check.markdown(), check.explanation, repr(check.measured), repr(check)))


def suspected(check: Check) -> dict[str, object]:
    return {name.removeprefix("suspected "): n for name, n in check.measured.items() if name.startswith("suspected ")}


# certain findings


def _with_luhn_digit(body: str) -> str:
    return next(body + digit for digit in DIGITS if _luhn_sum(body + digit) % 10 == 0)


def _luhn_sum(number: str) -> int:
    doubled = [int(digit) * (2 if place % 2 else 1) for place, digit in enumerate(reversed(number))]
    return sum(value - 9 if value > 9 else value for value in doubled)


def _iban(country: str, account: str) -> str:
    number = int("".join(str(int(character, 36)) for character in f"{account}{country}00"))
    return f"{country}{98 - number % 97:02d}{account}"


def _in_fours(number: str, separator: str) -> str:
    return separator.join(number[start : start + 4] for start in range(0, len(number), 4))


DIGITS = "0123456789"
CARDS = st.text(DIGITS, min_size=14, max_size=14).map(lambda body: _with_luhn_digit(f"4{body}"))
IBANS = st.text(DIGITS, min_size=18, max_size=18).map(lambda account: _iban("DE", account))
SEPARATORS = st.sampled_from(["", " ", "-", "\u00a0"])
KINDS = ("EMAIL", "CARD", "IBAN", "PHONE")


def certain(*texts: str, claim: Claim | None = None) -> dict[str, object]:
    check = judged(*texts, claim=claim)
    return {kind: check.measured[kind] for kind in KINDS if check.measured[kind]}


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("EMAIL", "write to ann.o'hara+x@mail.example.org."),
        ("EMAIL", "mailto:ann＠example.org"),
        ("EMAIL", "<EMAIL:c0ffee12c0ffee12>ann@example.org"),
        ("CARD", "card 4111 1111 1111 1111, thanks"),
        ("CARD", "Amex 3782-822463-10005"),
        ("CARD", "<CARD:4111111111111111>"),
        ("IBAN", "IBAN: GB82 WEST 1234 5698 7654 32 AND MORE"),
        ("IBAN", "de89370400440532013000"),
        ("PHONE", "call +49 (0)30 1234-5678"),
        ("PHONE", "+14155550123"),
    ],
)
def test_a_certain_finding_counts_everywhere_and_is_not_shown(kind: str, text: str) -> None:
    check = judged("nothing here", text)
    assert (check.passed, certain(text)) == (False, {kind: 1})
    assert check.severity == ("warn" if kind == "PHONE" else "error")
    assert not any(part in shown(check) for part in ("ann", "4111", "10005", "1234", "370400", "415555"))
    assert not quality.residual_pii([Document((), (text,))]).passed, "in an id or a link too"


@pytest.mark.parametrize(
    "text",
    [
        "Dear <PERSON:a1b2c3d4e5f60718>, write to <EMAIL:f111111111111111> or <PHONE:a491234567890123>.",
        "C = A @ B.T; @decorator; user@localhost",
        "ISBN 978-3-16-148410-0, at 1700000000000 ms, id 4111111111111112",
        "DE89370400440532013001 and XX89370400440532013000",
        "2 + 2, +0200, a+12345678, C++11 2011 2014 2017",
        "deadbeef4111111111111111",
    ],
)
def test_surrogates_code_and_plain_numbers_are_no_certain_findings(text: str) -> None:
    assert certain(text) == {}


@given(number=CARDS, separator=SEPARATORS)
def test_a_card_is_always_found_however_it_is_spaced(number: str, separator: str) -> None:
    assert certain(f"paid with {_in_fours(number, separator)}.")["CARD"] == 1


@given(data=st.data(), number=CARDS)
def test_a_card_with_one_digit_changed_is_never_taken_for_a_card(data: st.DataObject, number: str) -> None:
    place = data.draw(st.integers(1, len(number) - 1))
    digit = data.draw(st.sampled_from(DIGITS.replace(number[place], "")))
    assert "CARD" not in certain(number[:place] + digit + number[place + 1 :])


@given(number=IBANS, separator=SEPARATORS)
def test_an_iban_is_always_found_however_it_is_spaced(number: str, separator: str) -> None:
    assert certain(f"to {_in_fours(number, separator)} today")["IBAN"] == 1


def test_a_tenant_without_documents_passes() -> None:
    check = quality.residual_pii([])
    assert check.passed
    assert check.measured["texts"] == 0


# suspected findings

LEAKS = {
    "EMAIL": "Ask <ada.lovelace at example dot org> for it.",
    "PHONE": "Their number is 0161 496 0000 since then.",
    "SSN": "On file as 078-05-1120 since then.",
    "CARD": "Charged to 4111 1111 1111 1112 since then.",
    "IBAN": "Wire it to GB82 WEST 1234 5698 7654 33 today.",
    "PASSPORT": "Travels on passport no. X4Z71239 since then.",
    "BANK": "From account number 00123456 since then.",
    "DRIVER_LICENSE": "His driving licence D1234567 was seen.",
    "NHS": "Known to the NHS as 943 476 5919 since then.",
    "TAX_ID": "Their VAT no. 123456789 is on the bill.",
    "NATIONAL_ID": "Her identity card 640823 1234 was seen.",
    "HEALTH_ID": "See medical record 5583012 for more.",
    "IP": "Seen from 203.0.113.77 at night.",
    "MAC": "Seen from 00:1b:44:11:3a:b7 at night.",
    "CRYPTO": "Paid to 1BoatSLRHtKNngkdXEeobR76b53LETtpyT at night.",
    "CREDENTIAL": "Cloned from https://ada:s3same@git.example.org/x at night.",
    "SECRET": "The password: hunter2hunter2 is still in use.",
    "PERSON": "we hired Mr. Quillfeather for the seal.",
    "LOCATION": "it was shipped to Quillhaven yesterday.",
    "ADDRESS": "deliver it to suite 402 at the back.",
    "PERSON or LOCATION": "the seal was praised by old Quillfeather again.",
}


@pytest.mark.parametrize("entity", LEAKS)
def test_a_leak_of_each_entity_raises_its_count_and_its_rate_and_is_not_shown(entity: str) -> None:
    before, after = judged(*PLAIN), judged(*PLAIN, LEAKS[entity])
    group = "names" if entity in ("PERSON", "LOCATION", "ADDRESS", "PERSON or LOCATION") else "identifiers"
    assert suspected(after)[entity] == 1
    assert entity not in suspected(before)
    assert float(after.measured[f"{group}_high"]) <= 1
    assert float(after.measured[f"{group}_rate"]) > float(before.measured[f"{group}_rate"])
    words = set(re.findall(r"\w+", LEAKS[entity])) - set(re.findall(r"\w+", shown(before)))
    assert not [word for word in words if len(word) > 3 and re.search(rf"\b{word}\b", shown(after))]


def test_plain_texts_have_no_findings() -> None:
    assert suspected(judged(*PLAIN, claim=NAMES)) == {}


SURROGATES = st.builds(
    lambda entity, first, rest, masked: f"<{entity}>" if masked else f"<{entity}:{first}{rest}>",
    st.sampled_from(ENTITIES),
    st.sampled_from("abcdef"),
    st.text("0123456789abcdef", min_size=15, max_size=15),
    st.booleans(),
)


@given(st.lists(SURROGATES, min_size=1, max_size=6), st.sampled_from([" ", ", ", "\n", " and ", ""]))
def test_surrogates_and_masks_are_never_counted(surrogates: list[str], between: str) -> None:
    check = judged(*PLAIN, between.join(surrogates), f"Sent by {surrogates[0]} to {surrogates[-1]}.")
    assert check.passed
    assert suspected(check) == {}


def test_entities_that_the_profile_keeps_do_not_count() -> None:
    check = judged(*PLAIN, *LEAKS.values(), claim=claim_of(Privacy(profile="patterns")))
    assert not {"PERSON", "LOCATION", "ADDRESS", "PERSON or LOCATION"} & suspected(check).keys()
    assert "names_rate" not in check.measured
    assert certain("write to ann@example.org", claim=claim_of(Privacy(actions={"EMAIL": "keep"}))) == {}


def test_values_that_the_tenant_allows_do_not_count() -> None:
    allowed = claim_of(Privacy.model_validate({"allow": ["Info@Example.org", "0161 496 0000"]}))
    assert suspected(judged("write to info@example.org or ring 0161 496 0000.", claim=allowed)) == {}
    assert certain("write to ann@example.org", claim=allowed) == {"EMAIL": 1}


GERMAN = (
    "Die Wellendichtung wird einmal im Jahr geprüft und vor dem Winter geschmiert.",
    "Bestellungen über tausend Euro brauchen eine zweite Unterschrift der Geschäftsleitung.",
    "Am Montag ist die Pumpe in Betrieb genommen worden, und das Protokoll liegt bei der Werkleitung.",
)


def test_german_nouns_are_no_names_except_after_a_title() -> None:
    assert suspected(judged(*GERMAN, claim=NAMES)) == {}
    assert suspected(judged(*GERMAN, "Das Protokoll ist bei Herrn Quillfeder und wird kopiert.", claim=NAMES)) == {"PERSON": 1}


def test_a_word_that_the_tenant_uses_as_a_word_is_no_name() -> None:
    assert suspected(judged("the new Flangulator works.", claim=NAMES)) != {}
    assert suspected(judged("the new Flangulator works.", "every flangulator is new.", claim=NAMES)) == {}


@given(st.lists(st.text(max_size=60), max_size=8))
def test_every_text_is_accepted_and_none_is_shown(texts: list[str]) -> None:
    marked = [f"{text} Zyxquorlin 078-05-1120 {text}" for text in texts]
    check = judged(*marked)
    assert "Zyxquorlin" not in shown(check)
    assert "078-05" not in shown(check)


HOSTILE = (
    "1",
    "1 ",
    "1-",
    "(",
    "+1 (",
    "a.",
    "a@",
    "a at ",
    "A",
    "Aa ",
    "Aa-",
    "Aa'",
    "de ",
    "token=",
    "account ",
    ":",
    "ab:",
    "<EMAIL:",
    "1.1.",
)


@pytest.mark.parametrize("piece", HOSTILE)
def test_time_is_linear_on_adversarial_texts(piece: str) -> None:
    def seconds(length: int) -> float:
        text = (piece * length)[:length]
        # CPU time of this thread; calls are not counted, because one call of a pattern may be quadratic
        started = thread_time()
        judged(text)
        return thread_time() - started

    seconds(1000)
    # quadratic time would be a hundred times as long, and the bound is far above what a slow machine needs
    assert seconds(400_000) < 2.0 + 60 * seconds(40_000)


# estimation


def binomial(n: int, k: int, p: float) -> float:
    return float(comb(n, k) * p**k * (1 - p) ** (n - k))


@given(rate=st.floats(0, 1), n=st.floats(1, 1e7))
def test_an_interval_always_lies_within_0_and_1_around_its_rate(rate: float, n: float) -> None:
    found = interval(rate, n)
    assert 0 <= found.low <= found.rate == rate <= found.high <= 1


@pytest.mark.parametrize("n", [1, 2, 5, 20, 100])
def test_an_interval_covers_the_true_share_in_at_least_95_of_100_cases(n: int) -> None:
    intervals = [interval(k / n, n) for k in range(n + 1)]
    for p in (step / 100 for step in range(1, 100)):
        assert sum(binomial(n, k, p) for k, one in enumerate(intervals) if one.low <= p <= one.high) >= 0.95


@given(p=st.floats(0.001, 0.999), n=st.integers(1, 60))
def test_the_lower_bound_exceeds_the_true_share_in_about_5_of_100_cases(p: float, n: int) -> None:
    assert sum(binomial(n, k, p) for k in range(n + 1) if interval(k / n, n).low > p) <= 0.055


DOCUMENTS = st.lists(
    st.integers(1, 50).flatmap(lambda n: st.builds(SampledDocument, st.just(n * 3), st.just(n), st.integers(0, n))), max_size=30
)


@given(DOCUMENTS, st.integers(0, 1000), st.lists(st.integers(1, LONGEST), min_size=1, max_size=9), st.sampled_from(sorted(ERRORS)))
def test_an_estimate_always_lies_within_its_interval(sample: list[SampledDocument], more: int, lengths: list[int], group: str) -> None:
    found = share(sample, len(sample) + more)
    residual = corrected(found, lengths, ERRORS[group])
    assert 0 <= found.low <= found.rate <= found.high <= 1
    assert 0 <= residual.low <= residual.rate <= residual.high <= 1


def test_passages_of_one_document_that_resemble_each_other_widen_the_interval() -> None:
    alike = [SampledDocument(20, 20, 20 * (n < 10)) for n in range(100)]
    mixed = [SampledDocument(20, 20, 2) for n in range(100)]
    assert share(alike, 10_000).low < share(mixed, 10_000).low
    assert share(alike, 10_000).rate == share(mixed, 10_000).rate == pytest.approx(0.1)


def test_a_perfect_detector_needs_no_correction() -> None:
    found = interval(0.2, 50)
    assert corrected(found, [100], Errors(0, 0, 1, 1)) == pytest.approx(found)


TEXTS = st.lists(st.text(max_size=3 * LONGEST), max_size=EACH + 5)


@settings(max_examples=30)
@given(TEXTS, st.randoms())
def test_equal_texts_give_the_same_passages_in_any_order(texts: list[str], random: Random) -> None:
    passages, of = draw(texts)
    random.shuffle(shuffled := list(texts))
    assert (sorted(passages), of) == (sorted(draw(shuffled)[0]), of)
    assert len(passages) == min(of, EACH)
    assert all(0 < len(passage) <= LONGEST for passage in passages)


@given(st.lists(st.text("ab \n", max_size=50).map(lambda piece: piece * 60), max_size=EACH))
def test_the_passages_contain_the_whole_text(texts: list[str]) -> None:
    passages, of = draw(texts, each=10_000)
    assert sum(map(str.isalnum, "".join(passages))) == sum(map(str.isalnum, "".join(texts)))
    assert of == len(passages)


def test_noise_in_a_few_passages_passes_and_a_leak_in_many_fails() -> None:
    healthy = [Document(PLAIN) for _ in range(50)]
    noisy = [*healthy[:-1], Document((*PLAIN, LEAKS["PHONE"]))]
    leaking = [Document((*PLAIN, LEAKS["SSN"]))] * 10 + healthy[:40]
    assert [quality.residual_pii(documents).passed for documents in (healthy, noisy, leaking)] == [True, True, False]
    assert quality.residual_pii(leaking, claim=Claim(most={"identifiers": 0.2})).passed


# a real tenant


def leak(app: Headrace, tenant: str, *blocks: Block) -> None:
    """Add blocks that redaction did not see to every redacted document."""
    session = app.session(tenant)
    with session.transaction() as connection:
        keys = [row["document"] for row in connection.execute("SELECT document FROM stage_record WHERE stage = 'redact'").fetchall()]
        for document, payload in artifacts.get(connection, session.keys, "redact", keys).items():
            whole = decode(payload, Redacted)
            leaky = Redacted(whole.name, (*whole.blocks, *blocks), whole.title)
            artifacts.put(connection, session.keys, "redact", {document: encode(leaky)})


def test_a_tenant_is_judged_by_its_own_profile(app: Headrace, acme: str) -> None:
    pages = {f"page{n}_md": "\n\n".join((f"# Page {n}", *PLAIN, f"Write to ada{n}@example.org.")) for n in range(12)}
    publish(app, acme, **pages)  # type: ignore[arg-type]
    app.ingest(acme)
    healthy = check(app, acme, "residual_pii")
    assert healthy.passed
    assert (healthy.measured["documents"], healthy.measured["documents_sampled"]) == (12, 12)
    assert check(app, acme, "residual_pii") == healthy

    leak(app, acme, *(Block(kind="paragraph", text=f"in hall {n} we hired Mr. Quillfeather of Quillhaven.") for n in range(4)))
    assert check(app, acme, "residual_pii").passed, "the profile keeps names"
    tenants.configure(app, acme, privacy={"profile": "names", "names_model": "en_core_web_sm", "most_residual": {"names": 0.01}})
    named = check(app, acme, "residual_pii")
    assert (named.passed, named.severity, named.measured["suspected PERSON"]) == (False, "error", 48)
    tenants.configure(app, acme, privacy={"most_residual": {"names": 0.9}})
    assert check(app, acme, "residual_pii").passed

    leak(app, acme, Block(kind="table", rows=(("name", "number"), ("on file", "078-05-1120"))))
    numbered = check(app, acme, "residual_pii")
    assert (numbered.passed, numbered.measured["suspected SSN"]) == (False, 12)
    assert not [value for value in ("078-05", "Quillfeather", "example.org", "Quillhaven") if value in shown(numbered)]


def test_a_threshold_makes_nothing_stale(app: Headrace, acme: str) -> None:
    publish(app, acme, page_md="\n\n".join(PLAIN))
    app.ingest(acme)
    tenants.configure(app, acme, privacy={"most_residual": {"identifiers": 0.5}})
    assert not app.run(acme, "redact").moved


@pytest.mark.parametrize(("target", "passes"), [("https://example.org/Quillhaven/078-05-1120", True), ("mailto:ann@example.org", False)])
def test_a_link_target_counts_only_for_certain_findings(app: Headrace, acme: str, target: str, passes: bool) -> None:
    publish(app, acme, page_md="\n\n".join(PLAIN))
    app.ingest(acme)
    leak(app, acme, Block(kind="paragraph", text="here", links=(Link("here", target),)))
    assert check(app, acme, "residual_pii").passed is passes
