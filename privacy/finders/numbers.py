"""Finder of national, tax, health and licence numbers, by shape, check digits and nearby words.

One pass finds the pieces of a text that contain digits; runs of a few pieces are matched against all kinds of numbers of that length, so a
further kind costs nothing in texts without digits. Shapes and checks are the issuers' (`privacy.finders.checksums`). Kinds whose check
accepts one number in ten or eleven need one of their words nearby.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from privacy.finders import checksums as check
from privacy.finders.context import Finding, Text, cues

_SURE, _CUED = 0.6, 0.55
_NEAR = 8
"""Words before a number that count: `Numer ewidencyjny PESEL pacjenta to …` needs more than Presidio's five."""


def _any(_: str) -> bool:
    return True


@dataclass(frozen=True)
class Number:
    """A kind of number. `shape` must match the whole value without separators.

    One of `words` and one of `also` must precede it; an empty set needs none.
    """

    entity: str
    language: str
    shape: re.Pattern[str]
    lengths: Collection[int]
    passes: Callable[[str], bool] = _any
    words: frozenset[str] = frozenset()
    also: frozenset[str] = frozenset()


def _number(entity: str, language: str, shape: str, lengths: Collection[int], passes: Callable[[str], bool], *words: str) -> Number:
    return Number(entity, language, re.compile(shape), lengths, passes, cues(*words))


_DAY = r"(?:0[1-9]|[12]\d|3[01])"
_MONTH = r"(?:0[1-9]|1[0-2])"
_TAX = ("tax", "tin", "taxpayer", "vat")

NUMBERS: Sequence[Number] = (
    _number("TAX_ID", "de", r"[1-9]\d{10}", [11], check.tax_id_de, *_TAX, "steuer", "steuerid", "idnr", "steueridentifikationsnummer",
            "identifikationsnummer", "steuernummer"),
    _number("NATIONAL_ID", "de", rf"\d\d(?:{_DAY}|5[1-9]|[67]\d|8[01]){_MONTH}\d\d[A-Z]\d{{3}}", [12], check.pension_de),
    _number("NATIONAL_ID", "de", r"[CFGHJ-NPRTV-Z][CFGHJ-NPRTV-Z\d]{8}", [9], _any, "personalausweis", "ausweis", "ausweisnummer",
            "personalausweisnummer"),
    _number("HEALTH_ID", "de", r"[A-Z]\d{9}", [10], check.health_de, "krankenversicherungsnummer", "versichertennummer", "kvnr",
            "krankenkasse", "gesundheitskarte", "versicherten", "krankenversichertennummer"),
    _number("NATIONAL_ID", "fr", r"[1278]\d\d(?:0[1-9]|[1-9]\d)(?:\d\d|2[AB])\d{8}", [15], check.nir_fr),
    _number("NATIONAL_ID", "it", r"[A-Z]{6}[\dL-NP-V]{2}[A-EHLMPR-T][\dL-NP-V]{2}[A-Z][\dL-NP-V]{3}[A-Z]", [16], check.codice_fiscale_it),
    _number("NATIONAL_ID", "es", r"\d{8}[A-Z]|[XYZ]\d{7}[A-Z]", [9], check.dni_es),
    _number("NATIONAL_ID", "pl", rf"\d\d(?:[02468][1-9]|[13579][0-2]){_DAY}\d{{5}}", [11], check.pesel_pl, "pesel"),
    _number("TAX_ID", "pl", r"\d{10}", [10], check.nip_pl, "nip", *_TAX),
    _number("NATIONAL_ID", "ro", rf"[1-9]\d\d{_MONTH}{_DAY}\d{{6}}", [13], check.cnp_ro, "cnp", "numeric", "personal", "personală"),
    _number("NATIONAL_ID", "nl", r"\d{9}", [9], check.bsn_nl, "bsn", "burgerservicenummer", "sofinummer", "sofi"),
    _number("NATIONAL_ID", "nl", r"\d{11}", [11], check.national_be, "rijksregisternummer", "rijksregister", "national", "niss", "insz"),
    _number("NATIONAL_ID", "fr", r"\d{11}", [11], check.national_be, "registre", "niss", "nrn"),
    _number("NATIONAL_ID", "cs", r"\d\d(?:[0257][1-9]|[1368][0-2])\d{6}", [10], check.birth_number_cz, "rodné", "rč", "rodne", "birth"),
    _number("TAX_ID", "pt", r"[1235689]\d{8}", [9], check.nif_pt, "nif", "contribuinte", "fiscal", *_TAX),
    _number("NATIONAL_ID", "sv", rf"(?:19|20)?\d\d{_MONTH}(?:{_DAY}|6[1-9]|[78]\d|9[01])\d{{4}}", [10, 12], lambda v: check.luhn(v[-10:]),
            "personnummer", "samordningsnummer", "personal"),
    _number("NATIONAL_ID", "en", r"(?!BG|GB|NK|KN|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]\d{6}[A-D]", [9], _any),
    _number("NATIONAL_ID", "en", r"\d{9}", [9], check.luhn, "sin", "insurance", "nas"),
    _number("TAX_ID", "en", r"\d{9}", [9], check.tfn_au, "tfn", "tax", "file"),
    _number("HEALTH_ID", "en", r"[2-6]\d{9}", [10], check.medicare_au, "medicare"),
    _number("NATIONAL_ID", "en", r"[2-9]\d{11}", [12], check.verhoeff, "aadhaar", "aadhar", "uidai", "uid"),
    _number("TAX_ID", "en", r"[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z]", [10], _any, "pan", "permanent", *_TAX),
    _number("HEALTH_ID", "en", r"[1-9][AC-HJ-NP-RT-Y][\dAC-HJ-NP-RT-Y]\d[AC-HJ-NP-RT-Y][\dAC-HJ-NP-RT-Y]\d[AC-HJ-NP-RT-Y]{2}\d\d",
            [11], _any),
    _number("HEALTH_ID", "en", r"[12]\d{9}", [10], check.npi_us, "npi", "provider"),
    _number("HEALTH_ID", "en", r"[A-Z]{0,4}\d{5,12}[A-Z]?", range(5, 18), _any, "mrn", "chart", "patient", "member", "beneficiary",
            "medicaid", "subscriber"),
    _number("BANK", "en", r"[0-3678]\d{8}", [9], check.routing_us, "aba", "routing", "rtn"),
    Number("DRIVER_LICENSE", "en", re.compile(r"[A-Z\d]{0,3}\d[A-Z\d]{3,17}"), range(5, 19), lambda v: sum(map(str.isdigit, v)) > 3,
           cues("license", "licence", "permit", "card"), also=cues("driver", "driving")),
    # VAT numbers, Council Directive 2006/112/EC art. 215: personal if the business is a person's
    _number("TAX_ID", "de", r"DE[1-9]\d{8}", [11], lambda v: check.mod11_10(v[2:])),
    _number("TAX_ID", "fr", r"FR\d{11}", [13], check.vat_fr),
    _number("TAX_ID", "it", r"IT\d{11}", [13], lambda v: check.luhn(v[2:])),
    _number("TAX_ID", "es", r"ES(?:\d{8}[A-Z]|[XYZ]\d{7}[A-Z])", [11], lambda v: check.dni_es(v[2:])),
    _number("TAX_ID", "pl", r"PL\d{10}", [12], lambda v: check.nip_pl(v[2:])),
    _number("TAX_ID", "nl", r"NL\d{9}B\d\d", [14], check.vat_nl),
    _number("TAX_ID", "nl", r"BE[01]\d{9}", [12], lambda v: 97 - int(v[2:10]) % 97 == int(v[10:])),
    _number("TAX_ID", "pt", r"PT\d{9}", [11], lambda v: check.nif_pt(v[2:])),
    _number("TAX_ID", "sv", r"SE\d{10}01", [14], lambda v: check.luhn(v[2:12])),
    _number("TAX_ID", "en", r"GB\d{9}", [11], check.vat_gb),
)  # fmt: skip

_PIECE = re.compile(r"(?<![^\W_])(?:[A-Z]{2} )?[A-Za-z]{0,6}\d[A-Za-z0-9]{0,23}(?:[- ][A-Z])?(?![^\W_])")
_BETWEEN = frozenset(" .-/\n")
_MOST_PIECES = 7
_LONGEST = 20
_PREFIX = re.compile(r"[A-Z]{2} ")
_SUFFIX = re.compile(r"[- ][A-Z]$")
_SEPARATORS = str.maketrans("", "", " .-/\n")


class Numbers:
    """`Finder` of the numbers above whose language is among `languages`; of all numbers if that is empty."""

    needs = re.compile(r"\d(?:[ .\-/\n]?[A-Za-z0-9]){4}")

    def __init__(self, languages: Collection[str] = ()) -> None:
        selected = [number for number in NUMBERS if not languages or number.language in languages]
        self.labels = frozenset(number.entity for number in selected)
        self._shortest = min(min(number.lengths) for number in selected)
        self._shortest_without_words = min(min(number.lengths) for number in selected if not number.words)
        self._words = frozenset[str]().union(*(number.words | number.also for number in selected))
        self._by_length: dict[int, list[Number]] = defaultdict(list)
        for number in selected:
            for length in number.lengths:
                self._by_length[length].append(number)

    def find(self, text: Text) -> Iterator[Finding]:
        pieces = [match.span() for match in _PIECE.finditer(text.folded)]
        for place, (start, _) in enumerate(pieces):
            near = text.near(start, _NEAR) & self._words
            shortest = self._shortest if near else self._shortest_without_words
            for end in _ends(text.folded, pieces[place : place + _MOST_PIECES]):
                for first, last in _trims(text.folded, start, end) if end - start >= shortest else ():
                    yield from self._matches(text.folded, first, last, near)

    def _matches(self, text: str, start: int, end: int, near: frozenset[str]) -> Iterator[Finding]:
        value = text[start:end].translate(_SEPARATORS).upper()
        for number in self._by_length.get(len(value), ()):
            announced = all(not words or words & near for words in (number.words, number.also))
            if announced and number.shape.fullmatch(value) and number.passes(value):
                yield Finding(start, end, number.entity, _CUED if number.words else _SURE)


def _ends(text: str, pieces: Sequence[tuple[int, int]]) -> Iterator[int]:
    """Where a number that begins with the first piece may end: after each piece that follows one separator after the previous."""
    begin, end = pieces[0]
    yield end
    for start, after in pieces[1:]:
        if start != end + 1 or text[end] not in _BETWEEN or after - begin > _LONGEST + _MOST_PIECES:
            return
        end = after
        yield end


def _trims(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The value with and without two letters before it and one letter after it, which may belong to the sentence."""
    starts = [start, start + 3] if _PREFIX.match(text, start) else [start]
    ends = [end, end - 2] if _SUFFIX.search(text, max(start, end - 2), end) else [end]
    yield from ((first, last) for first in starts for last in ends)
