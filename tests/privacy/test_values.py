"""Invented personal values for the other tests, valid in form and belonging to nobody; each is found as its entity."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.policy import Privacy
from privacy import Redactor, new_data_key, tenant_keys

MASTER = bytes(range(32))

SHOWN = {
    "EMAIL": "ada.lovelace@example.com",
    "PHONE": "+49 170 1234567",
    "CARD": "4111 1111 1111 1111",
    "IBAN": "DE89 3704 0044 0532 0130 00",
    "SSN": "219-09-9999",
    "IP": "203.0.113.77",
}


class PiiValue(NamedTuple):
    """An invented value and the entity that it is."""

    entity: str
    text: str


@cache
def patterns() -> Redactor:
    """A Redactor of the patterns profile, shared by all tests because Presidio's imports take seconds."""
    return Redactor(Privacy())


def values(*, precise: bool = False) -> st.SearchStrategy[PiiValue]:
    """Any value; with `precise`, only those that are also recognised in ids."""
    kinds = [_emails(), _international_phones(), _cards(), _ibans(), _ssns()]
    return st.one_of(*kinds, *([] if precise else [_national_phones(), _addresses()]))


def _digits(count: int) -> st.SearchStrategy[str]:
    return st.text("0123456789", min_size=count, max_size=count)


def _emails() -> st.SearchStrategy[PiiValue]:
    part = st.from_regex(r"[a-z][a-z0-9]{1,8}", fullmatch=True)
    top = st.sampled_from(["com", "org", "example", "internal", "co.uk"])
    return st.builds(lambda a, b, c, d: PiiValue("EMAIL", f"{a}.{b}@{c}.{d}"), part, part, part, top)


def _international_phones() -> st.SearchStrategy[PiiValue]:
    german = _digits(7).map(lambda rest: f"+49 170 {rest}")
    american = _digits(2).map(lambda rest: f"+1 202-555-01{rest}")
    return st.one_of(german, american).map(lambda text: PiiValue("PHONE", text))


def _national_phones() -> st.SearchStrategy[PiiValue]:
    return st.tuples(st.sampled_from(["(202) 555-01", "202-555-01", "415.555.01"]), _digits(2)).map(lambda p: PiiValue("PHONE", "".join(p)))


def _cards() -> st.SearchStrategy[PiiValue]:
    number = st.builds(lambda prefix, rest: (prefix + rest)[:15], st.sampled_from(["4", "51", "55", "2221"]), _digits(14))
    return st.builds(lambda n, glue: PiiValue("CARD", _grouped(n + _luhn(n), 4, glue)), number, st.sampled_from(["", " ", "-"]))


def _ibans() -> st.SearchStrategy[PiiValue]:
    return st.builds(lambda account, glue: PiiValue("IBAN", _grouped(_iban(account), 4, glue)), _digits(18), st.sampled_from(["", " "]))


def _ssns() -> st.SearchStrategy[PiiValue]:
    area = st.integers(1, 665).map(lambda n: f"{n:03}")
    middle, last = st.integers(1, 99).map(lambda n: f"{n:02}"), st.integers(1, 9999).map(lambda n: f"{n:04}")
    placeholders = {"123-45-6789", "078-05-1120", "111-11-1111", "222-22-2222", "333-33-3333", "444-44-4444", "555-55-5555"}
    return st.builds("{}-{}-{}".format, area, middle, last).filter(lambda t: t not in placeholders).map(lambda t: PiiValue("SSN", t))


def _addresses() -> st.SearchStrategy[PiiValue]:
    v4 = st.tuples(st.integers(11, 126), st.integers(0, 255), st.integers(0, 255), st.integers(1, 254)).map(
        "{0[0]}.{0[1]}.{0[2]}.{0[3]}".format
    )
    v6 = st.tuples(st.integers(1, 0xFFFF), st.integers(1, 0xFFFF)).map("2001:db8:{0[0]:x}::{0[1]:x}".format)
    return st.one_of(v4, v6).map(lambda text: PiiValue("IP", text))


def _grouped(text: str, size: int, glue: str) -> str:
    return glue.join(text[i : i + size] for i in range(0, len(text), size))


def _luhn(number: str) -> str:
    doubled = [int(d) * 2 if i % 2 == 0 else int(d) for i, d in enumerate(reversed(number))]
    return str(-sum(d // 10 + d % 10 for d in doubled) % 10)


def _iban(account: str) -> str:
    check = 98 - int(f"{account}131400") % 97  # D = 13, E = 14, ISO 13616
    return f"DE{check:02}{account}"


@pytest.mark.slow
@given(values())
def test_an_invented_value_is_found_whole_as_its_entity(pii: PiiValue) -> None:
    keys = tenant_keys(MASTER, "acme", new_data_key(MASTER, "acme"))
    text, found = patterns().replace(pii.text, keys)
    assert found == {pii.entity: 1}
    assert text.startswith(f"<{pii.entity}:")
    assert text.endswith(">")
