"""Values disguised from patterns, and adversarial texts that would make a pattern slow."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.policy import Privacy
from privacy import Redactor, new_data_key, surrogate, tenant_keys
from privacy.finders.context import Finder, Text
from privacy.folding import fold
from tests.privacy.test_values import MASTER, SHOWN, PiiValue, patterns, values

KEYS = tenant_keys(MASTER, "acme", new_data_key(MASTER, "acme"))
CYRILLIC = str.maketrans("aeopcyxABEKMHOPCTX", "аеорсухАВЕКМНОРСТХ")


def replaced(text: str, **kwargs: Any) -> str:
    return patterns().replace(text, KEYS, **kwargs)[0]


@pytest.mark.parametrize(
    ("disguised", "plain"),
    [
        ("аdа@exаmple.com", "ada@example.com"),
        ("ada@\nexample.com", "ada@example.com"),
        ("ada\r\n   @example.com", "ada@example.com"),
        ("𝐚𝐝𝐚@example.com", "ada@example.com"),
        ("ad\u200da＠example．com", "ada@example.com"),
        ("ada (at) example (dot) com", "ada@example.com"),
        ("ada@ example.com", "ada@example.com"),
        ("ad<b>a@exa</b>mple.com", "ada@example.com"),
    ],
)
def test_an_address_in_disguise_has_the_surrogate_of_the_plain_one(disguised: str, plain: str) -> None:
    assert replaced(f"to {disguised}!") == f"to {surrogate('EMAIL', plain, KEYS)}!"


@pytest.mark.parametrize("between", ["#", "+", "'", "-", ""])
def test_two_joined_addresses_are_both_replaced(between: str) -> None:
    text = replaced(f"?user=ada@example.com{between}bob@example.org!")
    assert "ada" not in text
    assert "bob" not in text
    assert "@" not in text


@pytest.mark.parametrize("text", ["if a<b>c: x", "<td>4111</td><td>1111</td><td>1111</td><td>1111</td>", "see me@ noon", "5@ 3.50"])
def test_a_text_that_is_no_value_without_its_markup_stays(text: str) -> None:
    assert replaced(text) == text


@pytest.mark.parametrize(
    ("entity", "disguised"),
    [
        ("IBAN", "DЕ89 3704 0044 0532 0130 00"),
        ("CARD", "４１１１\u00a0１１１１\u2009１１１１\u202f１１１１"),
        ("CARD", "4111\u00ad1111\u200b1111\ufeff1111"),
        ("PHONE", "＋49\u2011170\u20111234567"),
    ],
)
def test_a_number_in_disguise_has_the_surrogate_of_the_plain_one(entity: str, disguised: str) -> None:
    assert replaced(f"({disguised})") == f"({surrogate(entity, SHOWN[entity], KEYS)})"


@given(values(), st.sampled_from(["Имя ", "Ελλάς ", "\u200b", "𝐍𝐨 ", "①. "]))
def test_text_before_a_value_stays_unchanged(pii: PiiValue, before: str) -> None:
    assert replaced(f"{before}{pii.text}").startswith(before)


@given(st.text("аеорсухАВЕКМНОРСТХбгдж @.19", max_size=30))
def test_text_in_other_scripts_stays_unchanged(text: str) -> None:
    assert fold(text).text.count(" ") <= text.count(" ")
    if "@" not in text:
        assert replaced(text) == text


HOSTILE = {
    "digits": "1",
    "groups": "1234 ",
    "dots": "1.1.1.1.",
    "colons": "ab:",
    "at": "a@",
    "local": "a." * 60 + "@",
    "capitals": "Abc Def ",
    "streets": "1 Rue de la Aa ",
    "cues": "my name is ",
    "keys": "-----BEGIN PRIVATE KEY-----",
    "tokens": "eyJaaaaaaaaaaaa.",
    "passwords": "password: token=",
    "dates": "1/1/1/1 ",
    "phones": "+1 (",
    "breaks": "1\n",
    "alike": "а",
    "links": "a://",
}


@pytest.fixture(scope="module")
def finders() -> Sequence[Finder]:
    """All finders for prose, without a model."""
    strict = Redactor(Privacy(actions=dict.fromkeys(("PERSON", "LOCATION", "ADDRESS", "DATE", "AGE", "HEALTH_ID", "CARD_CODE"), "keep")))
    strict.warm()
    return strict._finders("prose")


def _calls(work: Callable[[], object]) -> int:
    """The number of function calls: grows with the work, and is the same on a slow machine."""
    count = 0

    def tick(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(tick)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("name", HOSTILE)
def test_work_grows_no_faster_than_the_text(finders: Sequence[Finder], name: str) -> None:
    def work(size: int) -> Callable[[], object]:
        text = Text(fold((HOSTILE[name] * size)[:size]).text)
        return lambda: [list(finder.find(text)) for finder in finders]

    work(100)()
    small, large = _calls(work(1_000)), _calls(work(4_000))
    assert large <= 4.6 * small + 500


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", HOSTILE)
def test_no_expression_backtracks_over_a_long_text(finders: Sequence[Finder], name: str) -> None:
    """On 20 kB a quadratic expression would take minutes, and an exponential one would never end."""
    text = Text(fold((HOSTILE[name] * 20_000)[:20_000]).text)
    for finder in finders:
        finder.needs.search(text.folded)
        list(finder.find(text))
