"""Finders of telephone numbers, by the numbering plans in libphonenumber.

Presidio's recogniser runs PhoneNumberMatcher over the whole text for each region, which takes most of its time, and accepts any run of
digits that is valid in some region. Here a cheap pattern proposes candidates and a numbering plan confirms them; digits without a plus or
a usual grouping need a word nearby.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain, islice

from privacy.finders.context import Finding, Text, cues

# the regions of a national number, tried in this order: with a trunk prefix (a leading 0), and without
_TRUNK_REGIONS = ("GB", "DE", "FR", "AU", "NL", "IT", "CH", "AT", "BE", "SE", "IN", "IL", "BR", "ZA", "JP", "NZ", "FI", "IE")
_PLAIN_REGIONS = ("US", "IN", "ES", "BR", "PL", "DK", "NO", "PT", "SG", "GB", "AU", "FR", "NZ", "MX", "IT", "CZ")

_STRONG, _USUAL, _CUED = 0.9, 0.5, 0.45
# near a noun, any number of a telephone number's length counts, including local numbers; near a verb, only a valid one
_NOUNS = cues(
    "phone", "telephone", "tel", "mobile", "cell", "cellphone", "fax", "whatsapp", "telefon", "telefono", "handy", "mobil", "hotline"
)
_VERBS = cues(
    "call", "calling", "dial", "ring", "reach", "text", "sms", "contact", "answer", "answering", "voicemail", "office", "home", "work"
)
# after a number in a signature: `555 0123 office`
_PLACES = cues("office", "home", "work", "desk", "direct", "main")

_EXTENSION = r"(?:[ ,;]{0,2}(?:ext\.?|extension|x)[ .:]{0,2}\d{1,6}(?!\d))?"
_DATE = r"(?:\d{4}(?P<iso>[-./])[01]?\d(?P=iso)[0-3]?\d|[0-3]?\d(?P<sep>[-./])[0-3]?\d(?P=sep)(?:\d{4}|\d\d))(?![-./]?\d)"
_INTERNATIONAL = r"(?<![\w+])(?:\+|00(?=[1-9]\d{0,2}[ .-]))[ (]{0,2}[1-9](?:[ \n().\-/]{0,3}\d){6,14}(?!\d)" + _EXTENSION
_NATIONAL = r"(?<![\w.%$€£+-])(?<!\d,)(?<!- )(?!\(?" + _DATE + r")\(?\d(?:[ ().\-/]{0,2}\d){5,12}" + _EXTENSION + r"(?![\w%€]|[.,/-]\d)"

_INTERNATIONAL_CANDIDATE = re.compile(_INTERNATIONAL, re.IGNORECASE)
# consumes the first digits and looks ahead: a number may begin with the next group
_NATIONAL_CANDIDATE = re.compile(rf"(?=({_NATIONAL}))\(?\d+", re.IGNORECASE)

# usual groupings: (202) 555-0123, 202-555-0123, 1-202-555-0123; 030 1234567; 020 7946 0958; 98765 43210
_US_GROUPS = re.compile(r"(?:1[ .-])?(?:\(\d{3}\)[ -]?|\d{3}[ .-])\d{3}[ .-]\d{4}")
_US_WITH_SIGNS = re.compile(r"(?:1[ .-])?(?:\(\d{3}\)[ -]?\d{3}[ .-]|\d{3}(?P<sep>[.-])\d{3}(?P=sep))\d{4}")
_TRUNK_GROUPS = re.compile(r"(?:\(0\d{1,5}\)|0\d{1,5})[ /-]{1,3}\d{2,8}(?:[ .-]\d{2,8}){0,4}|0\d(?:[ .-]\d\d){4}")


# two to five groups, the shape of local numbers everywhere
_GROUPS = re.compile(r"\(?\d{1,4}\)?(?:[ -]\d{2,7}){1,4}|\d{2,4}(?:\.\d{2,4}){2,4}")


class Phones:
    """`Finder` of telephone numbers."""

    labels = frozenset({"PHONE"})
    needs = re.compile(r"\d(?:[ \n().\-/]{0,3}\d){5}")

    def find(self, text: Text) -> Iterator[Finding]:
        for match in _INTERNATIONAL_CANDIDATE.finditer(text.folded):
            yield from _international(match, possible=True)
        for match in _NATIONAL_CANDIDATE.finditer(text.folded):
            yield from _national(match.start(), match[1], text)


class InternationalPhones(Phones):
    """`Finder` of numbers with a country code only: precise enough for document ids and addresses."""

    def find(self, text: Text) -> Iterator[Finding]:
        for match in _INTERNATIONAL_CANDIDATE.finditer(text.folded):
            yield from _international(match, possible=False)


def e164(value: str) -> str | None:
    """The number in E.164 (`+12025550123`), by its country code, the first region that it is valid in, or one that it is possible in.

    None for other values.
    """
    value = _bare(value)
    regions = _regions(value)
    return _e164(value, regions) or _e164(value, regions[:1], possible=True)


_EXTENSION_AT_END = re.compile(r"[ ,;]{0,2}(?:ext\.?|extension|x)[ .:]{0,2}\d{1,6}$", re.IGNORECASE)


def _bare(value: str) -> str:
    return _EXTENSION_AT_END.sub("", " ".join(value.split()))


def _international(match: re.Match[str], *, possible: bool) -> Iterator[Finding]:
    """The longest valid number in the match, or after a plus the longest of a length that its country has."""
    whole = match.group()
    values = {end: _bare(whole[:end]) for end in _ends(whole)}
    valid = (end for end, value in values.items() if _e164(value, _regions(value)))
    lax = (end for end, value in values.items() if possible and re.match(r"\+\d", whole) and _e164(value, (None,), possible=True))
    for end in islice(chain(valid, lax), 1):
        yield Finding(match.start(), match.start() + end, "PHONE", _STRONG)


def _ends(whole: str) -> Iterator[int]:
    """Where a number may end: at its line's end, at the match's end, then before each group from the last, at least 7 characters long."""
    if "\n" in whole:
        yield whole.index("\n")
    yield len(whole)
    breaks = [match.start() for match in _BREAK.finditer(whole)]
    yield from (end for end in reversed(breaks) if end > 6)


_BREAK = re.compile(r"[ \n/,;x()]+")


def _national(start: int, whole: str, text: Text) -> Iterator[Finding]:
    if whole.count(".") == 1:  # a decimal fraction
        return
    if whole.startswith("(") and ")" not in whole[:8]:  # a parenthesis around the number, not in it
        start, whole = start + 1, whole[1:]
    inside = _OTHER_DIGITS.search(text.folded, max(0, start - 2), start)
    usual = _us_with_signs if inside else _usual
    end = next((end for end in _ends(whole) if usual(_bare(whole[:end]))), 0)
    if end < len(whole) and not inside and _cued(start, whole, text):
        # the whole, not the part that is a valid number in some region: the word announces all of it
        yield Finding(start, start + len(whole), "PHONE", _USUAL if end else _CUED)
    elif end:
        yield Finding(start, start + end, "PHONE", _USUAL)


# after `12 `, `/` or `#` a number needs the signs of a telephone number
_OTHER_DIGITS = re.compile(r"\d $|[/#]$")


def _us_with_signs(value: str) -> bool:
    return bool(_US_WITH_SIGNS.fullmatch(value))


def _usual(value: str) -> bool:
    if _US_GROUPS.fullmatch(value):
        return _us_with_signs(value) or bool(_e164(value, ("US",)))
    return bool(_TRUNK_GROUPS.fullmatch(value) and _e164(value, _TRUNK_REGIONS))


def _cued(start: int, whole: str, text: Text) -> bool:
    after = text.after(start + len(whole))
    if (text.near(start) | after) & _NOUNS or after & _PLACES:
        return True
    value = _bare(whole)
    if not text.near(start, 3) & _VERBS:
        return False
    return bool((_GROUPS.fullmatch(value) and sum(map(str.isdigit, value)) > 6) or _e164(value, _regions(value)))


def _regions(value: str) -> tuple[str | None, ...]:
    digits = value.lstrip(" (")
    if digits.startswith("+"):
        return (None,)
    if digits.startswith("00"):
        return ("GB",)  # any region whose international prefix is 00
    return _TRUNK_REGIONS if digits.startswith("0") else _PLAIN_REGIONS


@lru_cache(maxsize=4096)
def _e164(value: str, regions: tuple[str | None, ...], *, possible: bool = False) -> str | None:
    import phonenumbers as pn  # takes 60 ms

    accepts = pn.is_possible_number if possible else pn.is_valid_number
    for region in regions:
        try:
            number = pn.parse(value, region)
        except pn.NumberParseException:
            continue
        if accepts(number):
            return pn.format_number(number, pn.PhoneNumberFormat.E164)
    return None
