"""The same value has the same surrogate however it is written, within a tenant only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy import LABELS, new_data_key, surrogate, tenant_keys
from privacy.tokens import TOKEN

MASTER = bytes(range(32))
ACME, GLOBEX = (tenant_keys(MASTER, tenant, new_data_key(MASTER, tenant)) for tenant in ("acme", "globex"))
ANY_TEXT = st.text(st.characters(codec=None), max_size=40)


@given(st.sampled_from(LABELS), ANY_TEXT)
def test_a_surrogate_is_a_token_for_any_value(entity, value):
    assert TOKEN.fullmatch(surrogate(entity, value, ACME))


@given(st.sampled_from(LABELS), ANY_TEXT)
def test_a_surrogate_is_stable_within_a_tenant_and_unlinkable_across(entity, value):
    assert surrogate(entity, value, ACME) == surrogate(entity, value, ACME)
    assert surrogate(entity, value, ACME) != surrogate(entity, value, GLOBEX)


@given(st.lists(st.emails(), min_size=2, max_size=20, unique_by=str.casefold))
def test_different_values_have_different_surrogates(values):
    assert len({surrogate("EMAIL", value, ACME) for value in values}) == len(values)


def test_a_value_tells_nothing_under_another_entity():
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
def test_all_spellings_of_a_value_share_a_surrogate(entity, spellings):
    assert len({surrogate(entity, spelling, ACME) for spelling in spellings}) == 1


def test_bitcoin_addresses_that_differ_in_case_are_different_wallets():
    assert surrogate("CRYPTO", "1A1zP1", ACME) != surrogate("CRYPTO", "1a1zp1", ACME)
