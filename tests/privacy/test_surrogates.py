"""A value has the same surrogate in every spelling, and another one for every tenant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.surrogates import SURROGATE, TOKEN
from privacy import LABELS, new_data_key, surrogate, tenant_keys
from privacy.tokens import mask

MASTER = bytes(range(32))
ACME, GLOBEX = (tenant_keys(MASTER, tenant, new_data_key(MASTER, tenant)) for tenant in ("acme", "globex"))
ANY_TEXT = st.text(st.characters(codec=None), max_size=40)


@given(st.sampled_from(LABELS), ANY_TEXT)
def test_the_expression_matches_every_surrogate_and_mask(entity: str, value: str) -> None:
    token = surrogate(entity, value, ACME)
    matches = [expression.fullmatch(token) for expression in (SURROGATE, TOKEN)]
    assert [match and match.groups() for match in matches] == [(entity, token[len(entity) + 2 : -1])] * 2
    masked = TOKEN.fullmatch(mask(entity))
    assert masked
    assert masked.groups() == (entity, None)
    assert not SURROGATE.fullmatch(mask(entity))


@pytest.mark.parametrize("text", ["<CARD:4111111111111111>", "<EMAIL:c0ffee12>", "<OTHER:a1b2c3d4e5f60718>", "<email:a1b2c3d4e5f60718>"])
def test_other_text_in_angle_brackets_is_no_surrogate(text: str) -> None:
    assert not TOKEN.search(text)


@given(st.sampled_from(LABELS), ANY_TEXT)
def test_a_surrogate_is_stable_within_a_tenant_and_unlinkable_across(entity: str, value: str) -> None:
    assert surrogate(entity, value, ACME) == surrogate(entity, value, ACME)
    assert surrogate(entity, value, ACME) != surrogate(entity, value, GLOBEX)


@given(st.lists(st.emails(), min_size=2, max_size=20, unique_by=str.casefold))
def test_different_values_have_different_surrogates(values: list[str]) -> None:
    assert len({surrogate("EMAIL", value, ACME) for value in values}) == len(values)


def test_surrogates_of_one_value_as_different_entities_are_unlinkable() -> None:
    tails = {surrogate(entity, "123456789", ACME).partition(":")[2] for entity in LABELS}
    assert len(tails) == len(LABELS)


@pytest.mark.parametrize(
    ("entity", "spellings"),
    [
        ("EMAIL", ["ada@example.com", "Ada@Example.COM", "ada at example.com", "ada [at] example [dot] com"]),
        ("PHONE", ["+1 202 555 0123", "+1 (202) 555-0123", "(202) 555-0123", "202.555.0123", "001 202 555 0123", "+12025550123 ext. 7"]),
        ("CARD", ["4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111"]),
        ("IBAN", ["DE89370400440532013000", "DE89 3704 0044 0532 0130 00", "de89 3704 0044 0532 0130 00"]),
        ("SSN", ["123-45-6780", "123 45 6780", "123456780"]),
        ("IP", ["2001:DB8::1", "2001:db8:0:0:0:0:0:1"]),
        ("MAC", ["00:1A:2B:3C:4D:5E", "00-1a-2b-3c-4d-5e", "001a.2b3c.4d5e"]),
        ("PERSON", ["Ada Lovelace", "ada  lovelace", "ADA\nLOVELACE"]),
    ],
)
def test_all_spellings_of_a_value_share_a_surrogate(entity: str, spellings: list[str]) -> None:
    assert len({surrogate(entity, spelling, ACME) for spelling in spellings}) == 1


def test_bitcoin_addresses_that_differ_in_case_have_different_surrogates() -> None:
    assert surrogate("CRYPTO", "1A1zP1", ACME) != surrogate("CRYPTO", "1a1zp1", ACME)
