"""Finders of dates with their times, and of ages, for profiles that treat them as personal (HIPAA's safe harbour names both)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from privacy.finders.context import Finding, Text

_MONTH_NAMES = (
    "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?"
    "|januar|februar|märz|mai|juni|juli|oktober|dezember|janvier|février|mars|avril|juin|juillet|août|septembre|octobre|novembre|décembre"
    "|enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre|gennaio|febbraio|aprile|maggio|giugno|luglio"
    "|settembre|ottobre|dicembre"
)
_TIME = r"(?:(?:[T ]|, ?| at )[0-2]?\d:[0-5]\d(?::[0-5]\d(?:\.\d{1,6})?)?(?: ?[ap]\.?m\b\.?)?(?:Z|[+-]\d\d:?\d\d)?)?"
_NUMERIC = (
    r"\d{4}([-./])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12]\d|3[01])|(?:0?[1-9]|[12]\d|3[01])([-./])(?:0?[1-9]|[12]\d|3[01])\2(?:\d{4}|\d\d)"
)
_NAMED = (
    rf"(?:0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th|\.)? (?:of |de |di )?(?:{_MONTH_NAMES})\b\.?,?(?: (?:de |del )?\d{{4}})?"
    rf"|(?:{_MONTH_NAMES})\b\.? (?:(?:0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?\b,?(?: \d{{4}})?|\d{{4}})"
)
_WEEKDAY = r"(?:mon|tues|wednes|thurs|fri|satur|sun)day"
_DATE = re.compile(
    rf"(?<![\w./-])(?:(?:{_NUMERIC}){_TIME}|(?:{_WEEKDAY},? )?(?:{_NAMED}){_TIME}|{_WEEKDAY})(?![\w/]|[.-]\d)", re.IGNORECASE
)
_AGE = re.compile(
    r"(?<![\w.])(?P<before>\d{1,3})(?=[ -]?(?:years?|yrs?|y/o|yo)\b[ -]?(?:of age|old|-old)?)"
    r"|\b(?:aged?|age[ds]?:?|turned|turning) (?P<after>\d{1,3})(?![\w.%])",
    re.IGNORECASE,
)
_OLDEST = 122


class Dates:
    """`Finder` of calendar dates, with a time that follows, and of days of the week."""

    labels = frozenset({"DATE"})
    needs = re.compile(rf"\d[-./]\d|{_WEEKDAY}|\d\W{{0,3}}[a-z]{{3}}|[a-z]{{3}}\.? \d", re.IGNORECASE)

    def find(self, text: Text) -> Iterator[Finding]:
        for match in _DATE.finditer(text.folded):
            yield Finding(match.start(), match.end(), "DATE", 0.6)


class Ages:
    """`Finder` of ages in years: the number alone."""

    labels = frozenset({"AGE"})
    needs = re.compile(r"\d ?-?(?:y)|\bage|\bturn", re.IGNORECASE)

    def find(self, text: Text) -> Iterator[Finding]:
        for match in _AGE.finditer(text.folded):
            group = "before" if match["before"] else "after"
            if 0 < int(match[group]) <= _OLDEST:
                yield Finding(match.start(group), match.end(group), "AGE", 0.6)
