"""The text that finders read, what they find, and the words that stand near a place in it.

Presidio's enhancer tokenizes the whole text with spaCy and walks it once a result. This looks back a fixed distance instead:
linear in the text for any number of results, and without a model, so without the trap of missing lemmas.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from privacy.folding import BARRIER

# Presidio's default looks at five words before a value
_WORDS_BEFORE = 5
_CHARS_BEFORE = 80
_CHARS_AFTER = 16

# camelCase and snake_case are words too: accountNumber, phone_number
_WORD = re.compile(r"[A-Z]+(?![^\W\d_A-Z])|[A-Z]?[^\W\d_A-Z]+")


class Finding(NamedTuple):
    """A value at `[start, end)` of the folded text; `score` in 0–1 only ranks it against what it overlaps."""

    start: int
    end: int
    entity: str
    score: float


@dataclass(frozen=True)
class Text:
    """A folded text, and the words of its own labels: a cell's column header, a property's key, the heading above it."""

    folded: str
    hints: frozenset[str] = frozenset()

    def near(self, position: int, count: int = _WORDS_BEFORE) -> frozenset[str]:
        """The last words before a position, singular and in lower case, with the hints. Nothing is read across a surrogate."""
        return self.hints | self.before(position, count)

    def before(self, position: int, count: int = _WORDS_BEFORE) -> frozenset[str]:
        """The same without the hints: a heading's `Version` does not make a section's every address a version."""
        text = self.folded[max(0, position - _CHARS_BEFORE) : position].rpartition(BARRIER)[2]
        return frozenset(words(text)[-count:])

    def after(self, position: int) -> frozenset[str]:
        """The word after a position: `555 0123 (fax)`."""
        following = self.folded[position : position + _CHARS_AFTER].partition(BARRIER)[0]
        return frozenset(words(following)[:1])


class Needs(Protocol):
    """A compiled expression, or anything else that looks into a text."""

    def search(self, string: str, /) -> object: ...


class AnyOf:
    """`Needs` of one of several words, in lower case, in either case: several times as fast as an expression that ignores case."""

    def __init__(self, *found: str) -> None:
        self._words = found

    def search(self, string: str, /) -> bool:
        lowered = string.lower()
        return any(word in lowered for word in self._words)


class Finder(Protocol):
    """Finds the entities of `labels`. `find` is called only on texts in which `needs` occurs: keep that cheap."""

    @property
    def labels(self) -> frozenset[str]: ...

    @property
    def needs(self) -> Needs: ...

    def find(self, text: Text) -> Iterator[Finding]: ...


def words(text: str) -> list[str]:
    """The words of a text in order, in lower case, a plural's s dropped."""
    return [_singular(word.lower()) for word in _WORD.findall(text)]


def cues(*names: str) -> frozenset[str]:
    """Words that make a weak pattern a finding, in the form in which `Text.near` gives words."""
    return frozenset(_singular(name) for name in names)


def _singular(word: str) -> str:
    return word.removesuffix("s") if len(word) > 3 else word
