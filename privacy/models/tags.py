"""Turns the probability of each tag for each token into names with character positions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from privacy.models.labels import ENTITIES, begins, kind, meaning
from privacy.models.reader import Span

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Word(NamedTuple):
    """Characters `[start, end)` and the index of the word's first token, whose tag counts for the word: models are trained that way."""

    start: int
    end: int
    token: int


def words(text: str, offsets: Sequence[tuple[int, int]], word_ids: Sequence[int | None]) -> list[Word]:
    """The words of a tokenized text. A space also ends a word: some tokenizers report a whole text as one word, or include the space."""
    found: list[Word] = []
    previous: int | None = None
    for token, ((first, end), word) in enumerate(zip(offsets, word_ids, strict=True)):
        start = first + len(text[first:end]) - len(text[first:end].lstrip())
        if start == end:
            continue
        if found and word == previous and start <= found[-1].end:
            found[-1] = found[-1]._replace(end=max(end, found[-1].end))
        else:
            found.append(Word(start, end, token))
        previous = word
    return found


class _Tagged(NamedTuple):
    word: Word
    entity: str
    tag: str
    score: float


class Tags:
    """A model's tags by entity. Probabilities of one entity's tags are added up: doubt between `B-PER` and `I-PER` still means a person."""

    def __init__(self, labels: Mapping[int, str]) -> None:
        """`labels`: tags by index, from 0 without gaps."""
        self._labels = [str(labels[index]) for index in range(len(labels))]
        self._of = {entity: [at for at, label in enumerate(self._labels) if meaning(label) == entity] for entity in ENTITIES}
        self._others = [at for at, label in enumerate(self._labels) if meaning(label) is None]

    def __len__(self) -> int:
        return len(self._labels)

    def spans(self, words: Sequence[Word], probabilities: NDArray[np.float32]) -> Iterator[Span]:
        """The names in reading order. `probabilities`: (tokens, tags). A span's score is the mean over its words."""
        tagged = (self._tagged(word, probabilities[word.token]) for word in words)
        for entity, run in groupby(tagged, key=lambda each: each.entity if each else None):
            if entity:
                yield from _split([each for each in run if each])

    def _tagged(self, word: Word, probabilities: NDArray[np.float32]) -> _Tagged | None:
        scores = {entity: float(probabilities[tags].sum()) for entity, tags in self._of.items() if tags}
        entity = max(scores, key=lambda name: scores[name])
        if self._others and scores[entity] <= float(probabilities[self._others].sum()):
            return None
        tag = max(self._of[entity], key=lambda at: float(probabilities[at]))
        return _Tagged(word, entity, self._labels[tag], scores[entity])


def _split(run: Sequence[_Tagged]) -> Iterator[Span]:
    """Spans within a run of words of one entity. A beginning tag starts a new one only if its kind occurred: a surname continues a name."""
    first, kinds = 0, set[str]()
    for place, each in enumerate(run):
        if begins(each.tag) and kind(each.tag) in kinds:
            yield _span(run[first:place])
            first, kinds = place, set()
        kinds.add(kind(each.tag))
    yield _span(run[first:])


def _span(run: Sequence[_Tagged]) -> Span:
    return Span(run[0].word.start, run[-1].word.end, run[0].entity, sum(each.score for each in run) / len(run))
