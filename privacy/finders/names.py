"""People and places, by a model: spaCy's, GLiNER's or a token classifier of transformers (`privacy.models`).

Organisations are left alone unless a profile asks for them: they are no personal data (GDPR art. 4(1) is about natural persons), the graph
and most questions need them, and they are what small models get wrong most often.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from threading import Lock

from privacy import models
from privacy.finders.context import Finding, Text
from privacy.finders.gazetteer import FUNCTION_WORDS, has_capitals
from privacy.finders.people import grown
from privacy.folding import BARRIER
from privacy.models import Span

# a given name of the list stands between: it is a person where the model says place, and part of one where the model says person
_PERSON_SCORE, _SCORE = 0.85, 0.84

# spaCy refuses more than a million characters, and its memory grows with the text
_WINDOW = 20_000

_URL = re.compile(r"\b[a-z][a-z0-9+.-]{1,15}://\S+", re.IGNORECASE)
_LETTERS = re.compile(rf"[^\W\d_](?:[^{BARRIER}(]*[^\W_])?")
_CODE = re.compile(r"[_={}\[\]<>|\\]|\w\(\w|[a-z]\.[a-z]{3}")
_POSSESSIVE = re.compile(r"['’]s?$", re.IGNORECASE)


class Names:
    """`Finder` of people and places, sentence by sentence."""

    needs = re.compile(r"[^\W\d_]{2}")

    def __init__(self, model: str, wanted: Collection[str]) -> None:
        """`wanted`: of PERSON, LOCATION and ORGANIZATION, those that are looked for.

        Raises ConfigurationError where `model` is no model of names, cannot be loaded, or knows neither people nor places.
        """
        self.labels = frozenset(wanted)
        reader = models.loaded(models.find(model))
        self._together = reader.together
        # a second pass over a text finds the sentences in which nothing was replaced read already
        self._memory = _Memory(reader)
        self.identity = reader.identity

    def find(self, text: Text) -> Iterator[Finding]:
        readable, windows = _shown(text.folded)
        for (start, end), spans in zip(windows, self._memory.read([readable[start:end] for start, end in windows]), strict=True):
            if spans:
                yield from self._findings(text.folded, readable, start, end, spans)

    def ahead(self, texts: Iterable[str]) -> None:
        """Read what `find` will be asked for, at once, where that is faster. `texts`: folded, those that can be remembered are read."""
        if self._together:
            shown = map(_shown, texts)
            self._memory.read(list(_memorable(text[start:end] for text, windows in shown for start, end in windows)))

    def _findings(self, folded: str, readable: str, start: int, end: int, spans: Sequence[Span]) -> Iterator[Finding]:
        urls = [match.span() for match in _URL.finditer(readable, start, end)]
        for span in spans:
            first, last = start + span.start, start + span.end
            if span.label in self.labels and not _overlaps(first, last, urls):
                for begin, finish in _lines(folded, first, last):
                    yield from _trimmed(readable, begin, finish, span)


class _Memory:
    """A model, and what it found in the last texts. Threads share it."""

    def __init__(self, reader: models.Reader) -> None:
        self._reader = reader
        self._spans: OrderedDict[str, list[Span]] = OrderedDict()
        self._characters = 0
        self._using = Lock()

    def read(self, texts: Sequence[str]) -> list[list[Span]]:
        with self._using:
            known = {text: self._spans[text] for text in texts if text in self._spans}
        new = [text for text in dict.fromkeys(texts) if text not in known]
        known |= dict(zip(new, self._reader.read(new), strict=True)) if new else {}
        self._remember(known)
        return [known[text] for text in texts]

    def _remember(self, known: dict[str, list[Span]]) -> None:
        with self._using:
            for text, spans in known.items():
                self._characters += len(text) * (text not in self._spans)
                self._spans[text] = spans
                self._spans.move_to_end(text)
            while len(self._spans) > _REMEMBERED or self._characters > _CHARACTERS:
                self._characters -= len(self._spans.popitem(last=False)[0])


# as many as a table has cells, and no more than a few megabytes
_REMEMBERED, _CHARACTERS = 16_384, 2_000_000


def _memorable(texts: Iterable[str]) -> Iterator[str]:
    """The first of them, as many as are remembered together."""
    characters = 0
    for text in islice(texts, _REMEMBERED):
        characters += len(text)
        if characters > _CHARACTERS:
            return
        yield text


def _shown(folded: str) -> tuple[str, list[tuple[int, int]]]:
    """The text as a model reads it, one character for one: a name that a line break divides is still a name. And what of it is shown."""
    capitals = has_capitals(folded)
    sentences = (match.span() for match in _SENTENCE.finditer(folded) if not capitals or _may_name(match.group()))
    return folded.replace("\n", " "), [window for sentence in sentences for window in _windows(folded, *sentence)]


# To a blank line, or a full stop that is no abbreviation's (four small letters stand before it): no name reaches over either
_SENTENCE = re.compile(r"(?:[^\n.!?]|\n(?!\n)|[.!?](?![ \n][^\W\d_a-z])|(?<![a-z]{4})[.!?])+[.!?]?")


def _may_name(sentence: str) -> bool:
    """Whether a sentence of a text with capitals has one that is no function word's; the model takes most of all time."""
    return not sentence.isascii() or any(word.lower() not in FUNCTION_WORDS for word in _CAPITALIZED.findall(sentence))


_CAPITALIZED = re.compile(r"[A-Z][\w']*")


def _windows(text: str, start: int, stop: int) -> Iterator[tuple[int, int]]:
    while stop - start > _WINDOW:
        end = _cut(text, start + _WINDOW)
        yield start, end
        start = end
    yield start, stop


def _cut(text: str, most: int) -> int:
    """Where a window ends at the latest: behind a space before a small letter, which is inside no name, else behind any, else there."""
    for space in (_BEFORE_SMALL, _SPACE):
        ends = [found.end() for found in space.finditer(text, most - _WINDOW // 20, most)]
        if ends:
            return ends[-1]
    return most


_SPACE = re.compile(r"[ \n]")
_BEFORE_SMALL = re.compile(r"[ \n](?=[^\W\d_A-Z])")


def _overlaps(start: int, end: int, spans: list[tuple[int, int]]) -> bool:
    return any(start < other_end and other_start < end for other_start, other_end in spans)


def _lines(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The entity, in pieces where a form's lines were read as a sentence's: `Ada Lovelace` over `Phone: …`, a name over a firm."""
    pieces = [match.span() for match in _LINE.finditer(text, start, end)]
    single = all(text.count(" ", *piece) == 0 for piece in pieces)
    if len(pieces) == 1 or (single and text[end : end + 1] != ":"):
        yield start, end
        return
    for first, last in pieces:
        if not (last == end and text[end : end + 1] == ":"):
            yield first, last


_LINE = re.compile(r"[^\n]+")


def _trimmed(text: str, start: int, end: int, span: Span) -> Iterator[Finding]:
    """From the first letter to the last, without a possessive's s, never across a surrogate; nothing where it is written like code.

    A model that is less sure than what the other finders' scores are set against counts as less.
    """
    if _CODE.search(text, start, end):
        return
    for match in _LETTERS.finditer(text, start, end):
        value = _POSSESSIVE.sub("", match.group())
        finish = match.start() + len(value)
        if span.label == "PERSON":
            yield Finding(match.start(), grown(text, match.start(), finish), span.label, min(_PERSON_SCORE, span.score))
        else:
            yield Finding(match.start(), finish, span.label, min(_SCORE, span.score))
