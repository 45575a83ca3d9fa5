"""What all finders share: the text they read, the findings they return, and the words near a position.

Presidio's context enhancer tokenizes the whole text with spaCy and walks it once for each result. This module looks back a fixed distance
instead: linear in the text for any number of results, and without a model whose lemmas may be missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from privacy.folding import BARRIER

# Presidio's default: five words before a value
_WORDS_BEFORE = 5
_CHARS_BEFORE = 80
_CHARS_AFTER = 16

# splits camelCase and snake_case: accountNumber, phone_number
_WORD = re.compile(r"[A-Z]+(?![^\W\d_A-Z])|[A-Z]?[^\W\d_A-Z]+")


class Finding(NamedTuple):
    """A value at `[start, end)` of the folded text. `score` (0 to 1) is compared with the threshold and with overlapping findings."""

    start: int
    end: int
    entity: str
    score: float


@dataclass(frozen=True)
class Text:
    """A folded text, and the words of its labels: a cell's column header, a property's key, the heading above it."""

    folded: str
    hints: frozenset[str] = frozenset()

    def near(self, position: int, count: int = _WORDS_BEFORE) -> frozenset[str]:
        """The hints and the last words before a position, singular and in lower case. Does not look across a surrogate."""
        return self.hints | self.before(position, count)

    def before(self, position: int, count: int = _WORDS_BEFORE) -> frozenset[str]:
        """`near` without the hints: a heading's `Version` does not turn every IP address of its section into a version."""
        text = self.folded[max(0, position - _CHARS_BEFORE) : position].rpartition(BARRIER)[2]
        return frozenset(words(text)[-count:])

    def after(self, position: int) -> frozenset[str]:
        """The word after a position: `555 0123 (fax)`."""
        following = self.folded[position : position + _CHARS_AFTER].partition(BARRIER)[0]
        return frozenset(words(following)[:1])


class Needs(Protocol):
    """A compiled expression, or another object with its `search`."""

    def search(self, string: str, /) -> object: ...


class AnyOf:
    """Matches a text with one of several lower-case words, ignoring case: several times as fast as a regular expression."""

    def __init__(self, *words: str) -> None:
        self._words = words

    def search(self, string: str, /) -> bool:
        lowered = string.lower()
        return any(word in lowered for word in self._words)


class Finder(Protocol):
    """Finds the entities in `labels`. `find` is called only for texts that `needs` matches, so keep that cheap."""

    @property
    def labels(self) -> frozenset[str]: ...

    @property
    def needs(self) -> Needs: ...

    def find(self, text: Text) -> Iterator[Finding]: ...


def words(text: str) -> list[str]:
    """The words of a text in order, in lower case, without a plural's s."""
    return [_singular(word.lower()) for word in _WORD.findall(text)]


def cues(*names: str) -> frozenset[str]:
    """Words that confirm a weak pattern, in the form that `Text.near` returns."""
    return frozenset(_singular(name) for name in names)


def _singular(word: str) -> str:
    return word.removesuffix("s") if len(word) > 3 else word
