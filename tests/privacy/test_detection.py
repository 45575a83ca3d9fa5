"""Redaction of texts: which values are found, which texts stay, and properties of every text."""

from __future__ import annotations

import logging
import subprocess
import sys
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.policy import Privacy
from privacy import LABELS, Redactor, new_data_key, redact_text, surrogate, tenant_keys
from privacy.folding import fold
from privacy.redactor import Kind
from tests.privacy.test_values import MASTER, PiiValue, patterns, values

KEYS = tenant_keys(MASTER, "acme", new_data_key(MASTER, "acme"))


def redacted(text: str, **kwargs: Any) -> str:
    return patterns().replace(text, KEYS, **kwargs)[0]


def entities(text: str, **kwargs: Any) -> list[str]:
    return sorted(patterns().replace(text, KEYS, **kwargs)[1].elements())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to ada@example.com or BOB@firma.internal.", ["EMAIL", "EMAIL"]),
        ("**ada@example.com**, _ada@example.com_|ada@example.com|", ["EMAIL"] * 3),
        ('-ada@example.com +ada@example.com "Ada B"@example.com', ["EMAIL"] * 3),
        ("a" * 100 + "@example.com", ["EMAIL"]),
        ("From: <ada at example.com>, ada [at] example [dot] org", ["EMAIL", "EMAIL"]),
        ("Call +49 30 901820 or (202) 555-0123 or 020 7946 0958 or 030/901820", ["PHONE"] * 4),
        ("1. (202-555-0123) 12 (202) 555-0124 (030 901820) https://x.example/c/202-555-0123", ["PHONE"] * 4),
        ("Tel. 785 8949; 555 01 23 fax", ["PHONE", "PHONE"]),
        ("Paid with 4111 1111 1111 1111 123 and 378282246310005.", ["CARD", "CARD"]),
        ("To GB82 WEST 1234 5698 7654 32 please, or de89370400440532013000", ["IBAN", "IBAN"]),
        ("SSN 123-45-6780, social security no 219099999", ["SSN", "SSN"]),
        ("ITIN: 912-70-1234", ["ITIN"]),
        ("NHS number 943 476 5919", ["NHS"]),
        ("passport A12345678, passport no. 123456789", ["PASSPORT", "PASSPORT"]),
        ("account number 1234567890", ["BANK"]),
        ("from 192.168.7.9 and 2001:db8::8a2e:370:7334", ["IP", "IP"]),
        ("IP:2001:db8::7334 http://[2001:db8::7]/", ["IP", "IP"]),
        ("adapter 00:1A:2B:3C:4D:5E", ["MAC"]),
        ("to 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa or bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", ["CRYPTO", "CRYPTO"]),
        ("https://ada:secret@host.example/path", ["CREDENTIAL"]),
    ],
)
def test_each_kind_of_value_is_found(text: str, expected: list[str]) -> None:
    assert entities(text) == sorted(expected)


@pytest.mark.parametrize(
    "text",
    [
        "See https://example.com/a/b?page=2#top and www.example.org.",
        "On 2024-11-22 at 10:15, 22.11.2024, 11/22/24 or (2011-05-30).",
        "version 3.3.0.1, OID 1.3.6.1.4.1.311, 127.0.0.1, ::1, x[::2], std::vector, in 2006::",
        "B7, john.sm, 1,234,567.89, 0.304120, ISBN 978-3-16-148410-0, doi:10.1000/182",
        "Look at python.org; call 0.2492680 times; the order was 1234567890, invoice 20241122103000.",
        "Card of 4111 1111 1111 1112, IBAN DE88 3704 0044 0532 0130 00",
        "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20",
        "",
    ],
)
def test_a_text_without_personal_data_stays_unchanged(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("mailto:ada@example.com?subject=hi", ("mailto:", "?subject=hi")),
        ("tel:+12025550123", ("tel:", "")),
        ("tel:2025550123", ("tel:", "")),
        ("https://x.example/contact?email=ada%40example.com&page=2", ("https://x.example/contact?email=", "&page=2")),
        ("https://x.example/u/ada@example.com/posts", ("https://x.example/u/", "/posts")),
        ("https://x.example/call/%2B12025550123", ("https://x.example/call/", "")),
        ("ftp://ada:pass@x.example/file", ("ftp://", "@x.example/file")),
    ],
)
def test_only_the_identifier_in_a_link_is_replaced(url: str, kept: tuple[str, str]) -> None:
    token = redacted(url, kind="address").removeprefix(kept[0]).removesuffix(kept[1])
    assert token.startswith("<")
    assert token.endswith(">")
    assert token.count("<") == 1
    assert redacted(f"see {url} there") == f"see {kept[0]}{token}{kept[1]} there"


def test_an_address_has_one_surrogate_in_texts_links_and_queries() -> None:
    token = surrogate("EMAIL", "ada@example.com", KEYS)
    for text in (
        "mailto:ada@example.com",
        "x?to=ada%40example.com",
        "Who is Ada@Example.com?",
        "ad\u200ba\u00ad@example.com",
        "ada＠example.com",
    ):
        assert token in redact_text(text, patterns(), KEYS)


def test_a_value_is_found_across_a_line_break_but_not_across_a_blank_line() -> None:
    assert redacted("DE89 3704\r\n    0044 0532\n0130 00") == surrogate("IBAN", "DE89370400440532013000", KEYS)
    assert redacted("+49 30\n901820 is it") == f"{surrogate('PHONE', '+4930901820', KEYS)} is it"
    assert redacted("4111 1111\n\n1111 1111") == "4111 1111\n\n1111 1111"


def test_a_weak_pattern_needs_a_word_before_it_or_in_its_label() -> None:
    assert redacted("12345678") == "12345678"
    assert entities("12345678", label="Bank account") == ["BANK"]
    assert entities("12345678", label="accountNumber") == ["BANK"]
    assert entities("2025550123", label="phone") == ["PHONE"]
    assert redacted("12345678", label="Accounting period") == "12345678"


def test_digits_in_angle_brackets_do_not_pass_for_a_surrogate() -> None:
    assert "4111111111111111" not in redacted("<CARD:4111111111111111>")


IDS = st.one_of(
    st.from_regex(r"pep-[0-9]{4}", fullmatch=True),
    st.from_regex(r"[A-Z]{2,4}-20[0-9]{2}-[0-9]{6}", fullmatch=True),
    st.from_regex(r"reports/20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9])/q[1-4]\.pdf", fullmatch=True),
    st.from_regex(r"[a-z]{2,9}(/[a-z0-9]{1,9}){1,4}/index\.(md|html)", fullmatch=True),
    st.from_regex(r"v[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{1,3}(-rc\.[0-9])?\+20[0-9]{12}", fullmatch=True),
    st.from_regex(r"arXiv:[0-9]{4}\.[0-9]{5}v[0-9]", fullmatch=True),
    st.from_regex(r"10\.[0-9]{4}/[a-z]{2,9}\.[0-9]{4}\.[0-9]{2,6}", fullmatch=True),
    st.from_regex(r"https://docs\.example\.com/[a-z]{2,9}/[0-9]{1,10}(\?v=[0-9]{1,3})?", fullmatch=True),
    st.from_regex(r"[a-f0-9]{40}|[a-f0-9]{64}|01[0-9A-HJKMNP-TV-Z]{24}", fullmatch=True),
    st.from_regex(r"20[0-9]{12}_[a-z]{3,8}_[0-9]{1,4}\.csv", fullmatch=True),
    st.from_regex(r"[a-z]+(-[a-z0-9]+){0,4}", fullmatch=True),
    st.integers(0, 10**11).map(str),
    st.uuids().map(str),
)


@given(IDS)
def test_an_ordinary_id_stays_unchanged(document: str) -> None:
    assert redacted(document, kind="id") == document


@given(values(precise=True))
def test_a_value_in_an_id_is_replaced(pii: PiiValue) -> None:
    assert pii.text not in redacted(f"inbox/{pii.text}.eml", kind="id")


PIECES = st.one_of(
    values().map(lambda pii: pii.text),
    st.sampled_from(
        ["account", "SSN", "passport", "phone", "card", " ", "\n", "<EMAIL:", ">", "@", "+", "%40", "://", "\u200b", "\ufffc", "\x00"]
    ),
    st.sampled_from(LABELS).map(lambda entity: surrogate(entity, "x", KEYS)),
    st.text(st.characters(codec=None), max_size=10),
    st.from_regex(r"[0-9]{1,12}", fullmatch=True),
)
TEXTS = st.lists(PIECES, max_size=8).flatmap(lambda pieces: st.sampled_from(["", " ", "-"]).map(lambda glue: glue.join(pieces)))


@pytest.mark.slow
@given(TEXTS, st.sampled_from(["prose", "address", "id"]), st.sampled_from(["", "phone", "account"]))
def test_redacting_a_redacted_text_changes_nothing(text: str, kind: Kind, label: str) -> None:
    once = redacted(text, kind=kind, label=label)
    assert redacted(once, kind=kind, label=label) == once


@pytest.mark.slow
@given(TEXTS, st.lists(TEXTS, max_size=3))
def test_a_result_does_not_depend_on_earlier_texts(text: str, others: list[str]) -> None:
    first = Redactor(Privacy()).replace(text, KEYS)
    for other in others:
        redacted(other)
    assert patterns().replace(text, KEYS) == first


@given(values(), values(), st.sampled_from([" ", ", ", "\n", "; ", " | ", "\t", "\u00a0"]))
def test_neighbouring_values_are_both_found(first: PiiValue, second: PiiValue, between: str) -> None:
    result = redacted(f"{first.text}{between}{second.text}")
    assert first.text not in result
    assert second.text not in result


@given(st.text(st.characters(codec=None)))
def test_folded_positions_map_back_to_the_original(text: str) -> None:
    folded = fold(text)
    spans = [folded.original(i, i + 1) for i in range(len(folded.text))]
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    copied = [(text[start:end], char) for (start, end), char in zip(spans, folded.text, strict=True) if text[start:end].isalnum()]
    assert all(original == char or not original.isascii() for original, char in copied)


class RecordingHandler(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@given(values())
def test_no_log_line_shows_a_value(pii: PiiValue) -> None:
    handler = RecordingHandler()
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        redacted(f"account card phone passport {pii.text}")
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert not [record for record in handler.records if pii.text in record.getMessage()]


def test_the_fingerprint_names_profile_rules_and_libraries() -> None:
    assert patterns().fingerprint == Redactor(Privacy()).fingerprint
    for part in ("patterns", "rules-", "presidio-", "phonenumbers-"):
        assert part in patterns().fingerprint


def test_importing_the_package_imports_no_heavy_library() -> None:
    heavy = ("presidio_analyzer", "spacy", "torch", "phonenumbers")
    program = f"import sys, privacy; sys.exit(bool([m for m in {heavy!r} if m in sys.modules]))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
