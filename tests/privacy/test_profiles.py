"""Profiles: their entities and actions, a tenant's changes, refused policies, and that listed values are never shown."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from core import records
from core.config import Settings
from core.entities import ENTITIES
from core.errors import DocumentError, PolicyError
from core.policy import Privacy
from core.records import Block, Content, Envelope, Redacted
from privacy import Redactor, new_data_key, redact, redact_text, surrogate, tenant_keys
from privacy.profiles import SHIPPED, profile
from tests.privacy.test_detection import TEXTS
from tests.privacy.test_stage import parsed
from tests.privacy.test_values import MASTER, SHOWN

KEYS = tenant_keys(MASTER, "acme", new_data_key(MASTER, "acme"))
MAIL = SHOWN["EMAIL"]


def replaced(text: str, **privacy: Any) -> str:
    return Redactor(Privacy.model_validate(privacy)).replace(text, KEYS)[0]


@pytest.mark.parametrize(
    ("action", "expected"),
    [("surrogate", surrogate("EMAIL", MAIL, KEYS)), ("mask", "<EMAIL>"), ("drop", ""), ("keep", MAIL)],
    ids=["surrogate", "mask", "drop", "keep"],
)
def test_a_value_is_replaced_as_its_action_says(action: str, expected: str) -> None:
    assert replaced(f"to {MAIL}.", actions={"EMAIL": action}) == f"to {expected}."


def test_a_document_with_a_quarantined_entity_is_refused_with_only_the_entitys_name() -> None:
    redactor = Redactor(Privacy(actions={"CARD": "quarantine"}))
    good, bad = (Content((Block("paragraph", text=text),)) for text in ("all well", f"card {SHOWN['CARD']}"))
    result = redact(parsed((Envelope("a", "crm"), bad), (Envelope("b", "crm"), good)), redactor, KEYS)
    assert result["reason"].to_list() == ["quarantined-by-policy", None]
    assert "CARD" in result["detail"][0]
    assert SHOWN["CARD"] not in result["detail"][0]
    with pytest.raises(DocumentError):
        redactor.replace(SHOWN["CARD"], KEYS)


def test_a_query_with_a_quarantined_entity_gets_its_surrogate() -> None:
    redactor = Redactor(Privacy(actions={"CARD": "quarantine"}))
    assert redact_text(f"who has {SHOWN['CARD']}?", redactor, KEYS) == f"who has {surrogate('CARD', SHOWN['CARD'], KEYS)}?"


def test_a_kept_entity_hides_its_pieces_from_other_finders() -> None:
    assert replaced(SHOWN["CARD"], actions={"CARD": "keep"}) == SHOWN["CARD"]


def test_an_allowed_value_stays_in_any_spelling_and_a_denied_one_is_replaced() -> None:
    own = {"allow": ["Support@Example.com"], "deny": ["Project Quux"]}
    text = replaced(f"support@example.com or {MAIL} on project  QUUX, projects", **own)
    quux = surrogate("CUSTOM", "project quux", KEYS)
    assert text == f"support@example.com or {surrogate('EMAIL', MAIL, KEYS)} on {quux}, projects"


def test_a_threshold_accepts_or_rejects_a_weak_pattern() -> None:
    assert replaced("12345678", thresholds={"BANK": 0.0}) == surrogate("BANK", "12345678", KEYS)
    assert replaced("call 785 8949 phone", thresholds={"PHONE": 0.9}) == "call 785 8949 phone"


def test_each_shipped_profile_knows_only_entities_and_the_payments_profile_keeps_no_card() -> None:
    assert {entity for shipped in SHIPPED.values() for entity in shipped} <= set(ENTITIES)
    assert replaced(f"card {SHOWN['CARD']} cvv 123", profile="payments") == "card <CARD> cvv "


def test_a_tenants_own_expression_needs_its_word_and_its_checksum() -> None:
    staff = {"pattern": r"E-\d{6}", "entity": "NATIONAL_ID", "words": ["staff"], "checksum": "luhn"}
    own = {"expressions": [staff | {"pattern": r"\d{6}"}]}
    assert replaced("staff 123455", **own) == f"staff {surrogate('NATIONAL_ID', '123455', KEYS)}"
    assert replaced("staff 123456 item 123455", **own) == "staff 123456 item 123455".replace(
        "123455", surrogate("NATIONAL_ID", "123455", KEYS)
    )
    assert replaced("item 123455", **own) == "item 123455"


@pytest.mark.parametrize("pattern", [r"(a)\1", r"(?=a)b", "(", "a*", "x" * 1001, r"(?:a{1000}){1000}"])
def test_an_invalid_or_backtracking_expression_is_refused(pattern: str) -> None:
    with pytest.raises(ValidationError):
        Privacy.model_validate({"expressions": [{"pattern": pattern}]})


def test_an_expression_that_backtracks_in_other_engines_runs_in_linear_time() -> None:
    hostile = "a" * 100_000 + "!"
    assert replaced(hostile, expressions=[{"pattern": "(a+)+$"}]) == hostile


@pytest.mark.parametrize(
    ("privacy", "problem"),
    [
        ({"actions": {"MAIL": "drop"}}, "was: 'MAIL'"),
        ({"actions": {"EMAIL": "hide"}}, "was: 'hide'"),
        ({"thresholds": {"EMAIL": 2.0}}, "was: 2.0"),
        ({"profile": "strict", "names_model": None}, "needs names_model"),
        ({"expressions": [{"pattern": "(a"}]}, "was: '(a'"),
        ({"languages": ["xx"]}, "was: 'xx'"),
    ],
)
def test_an_invalid_policy_is_refused_with_the_bad_value(privacy: dict[str, Any], problem: str) -> None:
    with pytest.raises(PolicyError) as refused:
        Settings().policy({"privacy": privacy})
    assert problem in refused.value.detail


@pytest.mark.parametrize("key", ["allow", "deny"])
@pytest.mark.parametrize("values", ["Ada Lovelace", [MAIL, 4111], [MAIL, ""], {MAIL: 1}, [[MAIL]]])
def test_an_invalid_list_of_values_is_refused_without_showing_any(key: str, values: object) -> None:
    with pytest.raises(PolicyError) as refused:
        Settings().policy({"privacy": {key: values}})
    assert not {"Lovelace", MAIL, "4111"} & set(refused.value.detail.replace("'", " ").split())


@settings(max_examples=10)
@given(st.lists(st.from_regex(r"[A-Z][a-z]{5,9} [A-Z][a-z]{5,9}", fullmatch=True), min_size=1, max_size=2))
def test_no_representation_and_no_fingerprint_shows_a_listed_value(values: list[str]) -> None:
    privacy = Privacy.model_validate({"allow": values, "deny": values})
    shown = f"{privacy!r} {profile(privacy)!r} {Redactor(privacy)!r} {Redactor(privacy).fingerprint}"
    assert not [value for value in values if value in shown]


def test_the_fingerprint_depends_on_every_key_and_is_equal_for_equal_policies() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"profile": "payments"},
        {"actions": {"EMAIL": "mask"}},
        {"thresholds": {"EMAIL": 0.5}},
        {"allow": ["a b"]},
        {"deny": ["a b"]},
        {"expressions": [{"pattern": "x1"}]},
        {"languages": ["de"]},
    ]
    assert len({Redactor(Privacy.model_validate(change)).fingerprint for change in changes}) == len(changes)
    for change in changes:
        one, other = Privacy.model_validate(change), Privacy.model_validate(change)
        assert (hash(one), one, Redactor(one).fingerprint) == (hash(other), other, Redactor(other).fingerprint)


ACTIONS = st.dictionaries(st.sampled_from(ENTITIES), st.sampled_from(["surrogate", "mask", "drop", "keep"]), max_size=4)


@pytest.fixture(scope="module")
def mixed() -> Redactor:
    actions = {"EMAIL": "drop", "PHONE": "mask", "CARD": "drop", "IBAN": "keep", "DATE": "surrogate", "URL": "surrogate", "ADDRESS": "mask"}
    return Redactor(Privacy.model_validate({"actions": actions, "deny": ["account"]}))


@given(TEXTS)
def test_redacting_a_redacted_text_changes_nothing_with_any_actions(mixed: Redactor, text: str) -> None:
    once = mixed.replace(text, KEYS)[0]
    assert mixed.replace(once, KEYS)[0] == once


def test_a_heading_counts_as_context_for_the_text_under_it() -> None:
    blocks = (Block("heading", text="Bank accounts", level=1), Block("paragraph", text="12345678"), Block("heading", text="Sizes", level=1))
    content = Content((*blocks, Block("paragraph", text="12345678")))
    result = records.decode(redact(parsed((Envelope("a", "crm"), content)), Redactor(Privacy()), KEYS)["payload"][0], Redacted)
    assert [block.text for block in result.blocks] == ["Bank accounts", surrogate("BANK", "12345678", KEYS), "Sizes", "12345678"]
