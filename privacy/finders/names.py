"""Finder of people and places by a model: spaCy, GLiNER or a token classifier of transformers (`privacy.models`).

Organisations are found only if a profile asks for them: they are not personal data (GDPR art. 4(1) covers natural persons), the graph and
most queries need them, and small models get them wrong most often.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from threading import Lock

from privacy.finders.context import Finding, Text
from privacy.finders.gazetteer import FUNCTION_WORDS, has_capitals
from privacy.finders.people import extended
from privacy.folding import BARRIER
from privacy.models import Reader, Span, find, loaded

# a given name from the list scores in between: it wins over the model's place, and loses to the model's longer person
_PERSON_SCORE, _SCORE = 0.85, 0.84

# in characters: spaCy refuses more than a million, and its memory grows with the text
_WINDOW = 20_000

_URL = re.compile(r"\b[a-z][a-z0-9+.-]{1,15}://\S+", re.IGNORECASE)
_LETTERS = re.compile(rf"[^\W\d_](?:[^{BARRIER}(]*[^\W_])?")
_CODE = re.compile(r"[_={}\[\]<>|\\]|\w\(\w|[a-z]\.[a-z]{3}")
_POSSESSIVE = re.compile(r"['’]s?$", re.IGNORECASE)


class Names:
    """`Finder` of people and places, sentence by sentence."""

    needs = re.compile(r"[^\W\d_]{2}")

    def __init__(self, model: str, labels: Collection[str]) -> None:
        """`labels`: those of PERSON, LOCATION and ORGANIZATION to look for.

        Raises ConfigurationError if `model` is not a names model, cannot be loaded, or labels neither people nor places.
        """
        self.labels = frozenset(labels)
        reader = loaded(find(model))
        self._together = reader.together
        # the redactor's second pass reads only the sentences that its first pass changed
        self._cache = _CachedReader(reader)
        self.identity = reader.identity

    def find(self, text: Text) -> Iterator[Finding]:
        readable, windows = _readable(text.folded)
        for (start, end), spans in zip(windows, self._cache.read([readable[start:end] for start, end in windows]), strict=True):
            if spans:
                yield from self._findings(text.folded, readable, start, end, spans)

    def read_ahead(self, texts: Iterable[str]) -> None:
        """Read the folded `texts` of later `find` calls in one batch, if the model is faster so. Reads as many as the cache holds."""
        if self._together:
            readable = map(_readable, texts)
            self._cache.read(list(_cacheable(text[start:end] for text, windows in readable for start, end in windows)))

    def _findings(self, folded: str, readable: str, start: int, end: int, spans: Sequence[Span]) -> Iterator[Finding]:
        urls = [match.span() for match in _URL.finditer(readable, start, end)]
        for span in spans:
            first, last = start + span.start, start + span.end
            if span.label in self.labels and not _overlaps(first, last, urls):
                for begin, finish in _lines(folded, first, last):
                    yield from _trimmed(readable, begin, finish, span)


class _CachedReader:
    """A model with a cache of its results, least recently used out first. Thread-safe."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._spans: OrderedDict[str, list[Span]] = OrderedDict()
        self._characters = 0
        self._lock = Lock()

    def read(self, texts: Sequence[str]) -> list[list[Span]]:
        with self._lock:
            spans = {text: self._spans[text] for text in texts if text in self._spans}
        new = [text for text in dict.fromkeys(texts) if text not in spans]
        spans |= dict(zip(new, self._reader.read(new), strict=True)) if new else {}
        self._store(spans)
        return [spans[text] for text in texts]

    def _store(self, results: dict[str, list[Span]]) -> None:
        with self._lock:
            for text, spans in results.items():
                self._characters += len(text) * (text not in self._spans)
                self._spans[text] = spans
                self._spans.move_to_end(text)
            while len(self._spans) > _ENTRIES or self._characters > _CHARACTERS:
                self._characters -= len(self._spans.popitem(last=False)[0])


# the cells of a large table, a few megabytes
_ENTRIES, _CHARACTERS = 16_384, 2_000_000


def _cacheable(texts: Iterable[str]) -> Iterator[str]:
    """The first texts, as many as fit into the cache together."""
    characters = 0
    for text in islice(texts, _ENTRIES):
        characters += len(text)
        if characters > _CHARACTERS:
            return
        yield text


def _readable(folded: str) -> tuple[str, list[tuple[int, int]]]:
    """The text for the model, of the same length, with spaces for line breaks (which may divide a name); and the windows to read."""
    capitals = has_capitals(folded)
    sentences = (match.span() for match in _SENTENCE.finditer(folded) if not capitals or _may_contain_name(match.group()))
    return folded.replace("\n", " "), [window for sentence in sentences for window in _windows(folded, *sentence)]


# up to a blank line, or a full stop that does not end an abbreviation (four lower-case letters precede it): no name spans either
_SENTENCE = re.compile(r"(?:[^\n.!?]|\n(?!\n)|[.!?](?![ \n][^\W\d_a-z])|(?<![a-z]{4})[.!?])+[.!?]?")


def _may_contain_name(sentence: str) -> bool:
    """Whether a sentence has a capitalised word that is not a function word. Saves time: the model takes most of it."""
    return not sentence.isascii() or any(word.lower() not in FUNCTION_WORDS for word in _CAPITALIZED.findall(sentence))


_CAPITALIZED = re.compile(r"[A-Z][\w']*")


def _windows(text: str, start: int, stop: int) -> Iterator[tuple[int, int]]:
    while stop - start > _WINDOW:
        end = _cut(text, start + _WINDOW)
        yield start, end
        start = end
    yield start, stop


def _cut(text: str, most: int) -> int:
    """The end of a window: after the last space before a lower-case letter (outside of names), or after the last space, or `most`."""
    for space in (_BEFORE_SMALL, _SPACE):
        ends = [match.end() for match in space.finditer(text, most - _WINDOW // 20, most)]
        if ends:
            return ends[-1]
    return most


_SPACE = re.compile(r"[ \n]")
_BEFORE_SMALL = re.compile(r"[ \n](?=[^\W\d_A-Z])")


def _overlaps(start: int, end: int, spans: list[tuple[int, int]]) -> bool:
    return any(start < other_end and other_start < end for other_start, other_end in spans)


def _lines(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The entity, split at line breaks if the lines of a form were read as one sentence: `Ada Lovelace` above `Phone: …` or a firm."""
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
    """The findings in a span: from first to last letter, without a possessive's s, not across a surrogate. None if it looks like code.

    The score is at most the one that the other finders' scores are tuned against.
    """
    if _CODE.search(text, start, end):
        return
    for match in _LETTERS.finditer(text, start, end):
        value = _POSSESSIVE.sub("", match.group())
        finish = match.start() + len(value)
        if span.label == "PERSON":
            yield Finding(match.start(), extended(text, match.start(), finish), span.label, min(_PERSON_SCORE, span.score))
        else:
            yield Finding(match.start(), finish, span.label, min(_SCORE, span.score))
