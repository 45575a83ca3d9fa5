"""A tenant's own lists: values that stay, values that are replaced, and expressions."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import SecretStr

from core.expressions import Expression, linear
from core.policy import Privacy
from privacy.finders.checksums import NAMED
from privacy.finders.context import Finder, Finding, Text, cues
from privacy.folding import fold
from privacy.surrogates import normal_form

_WORD = re.compile(r"\w+")
_ALWAYS = re.compile(r"\w")


def own_finders(privacy: Privacy) -> list[Finder]:
    """The finders that a tenant's configuration defines, the list of values first."""
    finders: list[Finder] = [Denied(privacy.deny)] if privacy.deny else []
    return [*finders, *(ExpressionFinder(expression) for expression in privacy.expressions)]


class Allowed:
    """Values that stay, in any spelling."""

    def __init__(self, values: Sequence[SecretStr]) -> None:
        self._values = [fold(value.get_secret_value()).text for value in values]
        self._forms: dict[str, frozenset[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._values)

    def __repr__(self) -> str:
        return f"Allowed({len(self._values)} values)"

    def has(self, entity: str, value: str) -> bool:
        """Whether the value's normal form as this entity is in the list."""
        if entity not in self._forms:
            self._forms[entity] = frozenset(normal_form(entity, allowed) for allowed in self._values)
        return normal_form(entity, value) in self._forms[entity]


class Denied:
    """`Finder` of values by their words, ignoring case and separators. One look-up for each word of the text, for any number of values."""

    labels = frozenset({"CUSTOM"})
    needs = _ALWAYS

    def __init__(self, values: Sequence[SecretStr]) -> None:
        self._by_first: dict[str, set[tuple[str, ...]]] = defaultdict(set)
        for value in values:
            words = tuple(_WORD.findall(fold(value.get_secret_value()).text.casefold()))
            if words:
                self._by_first[words[0]].add(words)

    def __repr__(self) -> str:
        return f"Denied({sum(map(len, self._by_first.values()))} values)"

    def find(self, text: Text) -> Iterator[Finding]:
        words = [(match.group().casefold(), match.start(), match.end()) for match in _WORD.finditer(text.folded)]
        for place, (first, start, _) in enumerate(words):
            for value in self._by_first.get(first, ()):
                if tuple(word for word, _, _ in words[place : place + len(value)]) == value:
                    yield Finding(start, words[place + len(value) - 1][2], "CUSTOM", 1.0)


class ExpressionFinder:
    """`Finder` of one of the tenant's expressions, by RE2, so linear in the text."""

    needs = _ALWAYS

    def __init__(self, expression: Expression) -> None:
        self.labels = frozenset({expression.entity})
        self._entity = expression.entity
        self._pattern: Any = linear(expression.pattern)
        self._passes = NAMED[expression.checksum] if expression.checksum else None
        self._words = cues(*(word.lower() for word in expression.words))

    def find(self, text: Text) -> Iterator[Finding]:
        for match in self._pattern.finditer(text.folded):
            if match.end() > match.start() and self._fits(text, match.start(), match.group()):
                yield Finding(match.start(), match.end(), self._entity, 0.99)

    def _fits(self, text: Text, start: int, value: str) -> bool:
        if self._words and not text.near(start) & self._words:
            return False
        return self._passes is None or _passes(self._passes, value)


def _passes(check: Any, value: str) -> bool:
    compact = "".join(filter(str.isalnum, value)).upper()
    try:
        return len(compact) > 1 and bool(check(compact))
    except ValueError:  # letters in a value whose check takes digits only
        return False
