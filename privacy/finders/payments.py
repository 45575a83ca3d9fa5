"""Finders of payment cards, their codes, and IBANs, by length, issuer or country, and check digit.

The checks are Presidio's (Luhn; ISO 13616's formats and modulus). The patterns are our own, because Presidio's include digits after the
number and then reject the whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from privacy.finders.context import Finding, Text, cues

if TYPE_CHECKING:
    from presidio_analyzer import PatternRecognizer

# issuer prefixes and lengths, ISO/IEC 7812: Visa, Mastercard, American Express, Diners, Discover, JCB, UnionPay
_ISSUED = re.compile(
    r"4\d{15}(?:\d{3})?|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11}"
    r"|6(?:011|4[4-9]\d|5\d\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}|62\d{14,17}"
)
# Maestro and old Visa: they fit so many numbers that a word must be nearby
_SELDOM_ISSUED = re.compile(r"4\d{12}|(?:50|5[6-9]|6\d)\d{10,17}|1[38]00\d{11}|2131\d{11}")
_CUES = cues(
    "card", "credit", "debit", "visa", "mastercard", "maestro", "amex", "discover", "diner", "jcb", "cc", "kreditkarte", "karte", "pan",
)  # fmt: skip

_UNBROKEN = re.compile(r"(?<![^\W_])(?<!\d\.)\d{12,19}(?![^\W_]|\.\d)")
# consumes the first group and looks ahead over up to five: a card may begin with the next group
_GROUPED = re.compile(r"(?<![^\W_])(?<!\d[.-])(?=(\d{3,6}(?:[ \n-]\d{3,7}){2,4}(?![^\W_]|-[^\W_]|\.\d)))\d+")
_GROUP = re.compile(r"\d+")


class Cards:
    """`Finder` of card numbers, unbroken or in three to five groups, also across a line break."""

    labels = frozenset({"CARD"})
    needs = re.compile(r"\d(?:[ \n-]?\d){11}")

    def __init__(self, checks: PatternRecognizer) -> None:
        self._checks = checks

    def find(self, text: Text) -> Iterator[Finding]:
        for match in _UNBROKEN.finditer(text.folded):
            yield from self._confirm(text, *match.span())
        for match in _GROUPED.finditer(text.folded):
            for end in _group_ends(match):
                yield from self._confirm(text, match.start(), end)

    def _confirm(self, text: Text, start: int, end: int) -> Iterator[Finding]:
        digits = re.sub(r"\D", "", text.folded[start:end])
        plausible = _ISSUED.fullmatch(digits) or (_SELDOM_ISSUED.fullmatch(digits) and text.near(start) & _CUES)
        if plausible and self._checks.validate_result(digits):
            yield Finding(start, end, "CARD", 1.0)


def _group_ends(match: re.Match[str]) -> list[int]:
    """The ends of the third and later groups."""
    return [match.start() + group.end() for group in _GROUP.finditer(match[1])][2:]


class Ibans:
    """`Finder` of IBANs of the countries that Presidio knows, with or without groups, in upper or lower case."""

    labels = frozenset({"IBAN"})
    needs = re.compile(r"\d\d(?<=[A-Za-z]{2}\d\d)[ \n-]?[A-Za-z0-9]{2}")
    _begin = re.compile(r"(?<![^\W_])[A-Za-z]{2}\d\d(?=[ \n-]?[A-Za-z0-9]{2})")

    def __init__(self, checks: PatternRecognizer, formats: dict[str, str]) -> None:
        self._checks = checks
        self._formats = {country: re.compile(pattern) for country, pattern in formats.items()}

    def find(self, text: Text) -> Iterator[Finding]:
        # positions stay: only ASCII letters change case, and separators become spaces
        spaced = text.folded.translate(_IBAN_LETTERS)
        for begin in self._begin.finditer(spaced):
            pattern = self._formats.get(begin.group()[:2])
            match = pattern.match(spaced, begin.start()) if pattern else None
            if match:
                yield from self._confirm(match)

    def _confirm(self, match: re.Match[str]) -> Iterator[Finding]:
        value = match.group().rstrip(" ")
        end = match.start() + len(value)
        if not match.string[end : end + 1].isalnum() and self._checks.validate_result(value.replace(" ", "")):
            yield Finding(match.start(), end, "IBAN", 1.0)


_IBAN_LETTERS = {ord("-"): " ", ord("\n"): " "} | {ord(lower): lower.upper() for lower in "abcdefghijklmnopqrstuvwxyz"}


_CODE = re.compile(r"(?<![\w.,-])\d{3,4}(?![\w%]|[.,-]\d)")
_CODE_CUES = cues("cvv", "cvc", "csc", "cid", "cav", "prüfziffer")


class CardCodes:
    """`Finder` of card verification codes, by the words before them."""

    labels = frozenset({"CARD_CODE"})
    needs = re.compile(r"\d{3}")

    def find(self, text: Text) -> Iterator[Finding]:
        for match in _CODE.finditer(text.folded):
            near = text.near(match.start(), 3)
            if near & _CODE_CUES or {"security", "code"} <= near:
                yield Finding(match.start(), match.end(), "CARD_CODE", 0.9)
