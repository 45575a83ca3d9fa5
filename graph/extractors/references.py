"""References by number, such as `RFC 822` and `PEP-8`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from core.records import Chunk, Redacted
from core.surrogates import SURROGATE
from graph.extractors.extractor import Findings, Occurrence
from graph.keys import reference_key

_REFERENCE = re.compile(r"(?<![\w.-])([A-Z]{2,6})[\s-]([0-9]{1,5})(?!\w|[.,][0-9])")
# upper-case words before a number that count, measure or encode, and so name no series of documents
_ENCODINGS = {"UTF", "UCS", "SHA", "MD", "AES", "RSA", "BASE", "CRC", "COVID"}
_TIMES = {"UTC", "GMT", "BC", "AD", "AM", "PM", "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}
_PLACES = {"PAGE", "FIG", "TABLE", "NOTE", "STEP", "LINE", "PART", "TOP"}
_CURRENCIES = {"USD", "EUR", "GBP", "CHF", "JPY", "CNY", "INR", "AUD", "CAD", "SEK", "NOK", "DKK", "PLN"}
_NO_SERIES = frozenset(_ENCODINGS | _TIMES | _PLACES | _CURRENCIES)


class References:
    """Mentions of entities of the kind REFERENCE."""

    name = "references"
    fingerprint = "1"

    def extract(self, document: Redacted, chunks: Sequence[Chunk]) -> Findings:  # noqa: ARG002
        return Findings(occurrences=tuple(occurrence for chunk in chunks for occurrence in _references(chunk)))


def is_series(word: str) -> bool:
    """Whether a word before a number may name a series of documents, in any case."""
    return word.upper() not in _NO_SERIES


def _references(chunk: Chunk) -> Iterator[Occurrence]:
    for match in _REFERENCE.finditer(SURROGATE.sub(" ", chunk.text)):
        series, number = match.groups()
        if is_series(series):
            yield Occurrence(chunk.ordinal, reference_key(series, number), "REFERENCE", f"{series} {number}")
