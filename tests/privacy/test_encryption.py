"""Sealed data opens only under the same master key, tenant and context, and no key is ever shown."""

from __future__ import annotations

import logging
import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigurationError
from privacy import CannotDecrypt, new_data_key, rewrap, tenant_keys
from privacy.encryption import DerivedKeys

MASTER, OTHER_MASTER = bytes(range(32)), bytes(range(32, 64))
ACME, GLOBEX = new_data_key(MASTER, "acme"), new_data_key(MASTER, "globex")
KEYS = tenant_keys(MASTER, "acme", ACME)


@given(st.binary(max_size=200), st.text(max_size=20))
def test_sealed_data_opens(plaintext: bytes, context: str) -> None:
    assert KEYS.open(KEYS.seal(plaintext, context), context) == plaintext


@given(st.binary(min_size=8, max_size=100))
def test_a_sealed_payload_does_not_contain_its_plaintext_and_never_repeats(plaintext: bytes) -> None:
    first, second = KEYS.seal(plaintext, "c"), KEYS.seal(plaintext, "c")
    assert plaintext not in first
    assert first != second


@given(st.text(max_size=20), st.text(max_size=20))
def test_another_context_does_not_open(context: str, other: str) -> None:
    sealed = KEYS.seal(b"payload", context)
    if context != other:
        with pytest.raises(CannotDecrypt):
            KEYS.open(sealed, other)


@given(st.data())
def test_one_changed_bit_anywhere_does_not_open(data: st.DataObject) -> None:
    sealed = bytearray(KEYS.seal(b"payload", "c"))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(CannotDecrypt) as refused:
        KEYS.open(bytes(sealed), "c")
    assert refused.value.reason == "cannot-decrypt"


@given(st.integers(0, 35))
def test_a_truncated_payload_does_not_open(length: int) -> None:
    with pytest.raises(CannotDecrypt):
        KEYS.open(KEYS.seal(b"payload", "c")[:length], "c")


def test_another_tenants_keys_do_not_open_even_over_the_same_data_key() -> None:
    with pytest.raises(CannotDecrypt):
        tenant_keys(MASTER, "globex", GLOBEX).open(KEYS.seal(b"payload", "c"), "c")


def test_a_wrapped_key_is_bound_to_its_tenant() -> None:
    with pytest.raises(CannotDecrypt):
        tenant_keys(MASTER, "globex", ACME)


def test_a_wrong_master_key_is_refused_without_showing_either() -> None:
    with pytest.raises(CannotDecrypt) as refused:
        tenant_keys(OTHER_MASTER, "acme", ACME)
    assert "master_key" in str(refused.value)
    assert OTHER_MASTER.hex() not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_master_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ConfigurationError, match=f"was: {length} bytes"):
        new_data_key(b"x" * length, "acme")


def test_two_data_keys_of_one_tenant_differ() -> None:
    assert tenant_keys(MASTER, "acme", new_data_key(MASTER, "acme")).surrogate_key != KEYS.surrogate_key


def test_a_rotated_master_key_changes_no_derived_key() -> None:
    rewrapped = rewrap(MASTER, OTHER_MASTER, "acme", ACME)
    rotated = tenant_keys(OTHER_MASTER, "acme", rewrapped)
    assert rotated.open(KEYS.seal(b"payload", "c"), "c") == b"payload"
    assert rotated.surrogate_key == KEYS.surrogate_key
    assert rotated.digest(b"value", "document") == KEYS.digest(b"value", "document")
    with pytest.raises(CannotDecrypt):
        tenant_keys(MASTER, "acme", rewrapped)


@given(st.binary(max_size=50))
def test_a_digest_is_stable_and_separated_by_purpose_and_tenant(value: bytes) -> None:
    digest = KEYS.digest(value, "document")
    assert re.fullmatch("[0-9a-f]{32}", digest)
    assert digest == tenant_keys(MASTER, "acme", ACME).digest(value, "document")
    assert digest != KEYS.digest(value, "content")
    assert digest != tenant_keys(MASTER, "globex", GLOBEX).digest(value, "document")


def test_every_use_has_its_own_key() -> None:
    assert isinstance(KEYS, DerivedKeys)
    keys = {KEYS._data_key, KEYS._surrogate_key, KEYS._digest_key("a"), KEYS._digest_key("b"), KEYS._digest_key("seal")}
    assert len(keys) == 5


def test_no_representation_shows_key_material(caplog: pytest.LogCaptureFixture) -> None:
    assert isinstance(KEYS, DerivedKeys)
    caplog.set_level(logging.DEBUG)
    logging.getLogger("test").info("%s %r", KEYS, [KEYS])
    shown = f"{KEYS!r} {KEYS} {vars(type(KEYS)).keys()} {caplog.text}"
    for key in (KEYS._data_key, KEYS._surrogate_key):
        assert key.hex() not in shown
        assert repr(key)[2:-1] not in shown
    with pytest.raises(TypeError):
        pickle.dumps(KEYS)
