"""Scores predicted spans against labelled ones by the conventions of presidio-evaluator's `SpanEvaluator`.

Words that identify nobody (punctuation, stop words, `street`, `Mrs.`) are trimmed from both ends of a span. Adjacent spans of one type with
only such words between them are joined. A labelled span is found if the predictions that overlap it cover it with an intersection over
union of at least `IOU` in characters; several that together find one count as one prediction. The overall score ignores types.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

IOU = 0.9
"""The default of `SpanEvaluator`."""
BETA = 2.0

_TOKEN = re.compile(r"\w+|[^\w\s]")
_EMPTY = (
    "s street st de rue via day address country state city zip po apt unit corner box suite mr mrs miss year years y o month months old "
    "morning noon afternoon night evening last week weeks weekend days age ago inc ltd"
)


class Span(NamedTuple):
    start: int
    end: int
    entity: str


@dataclass
class Counts:
    """Numbers of labelled spans, of predicted ones, and of labelled spans that were `found`."""

    labelled: int = 0
    predicted: int = 0
    found: int = 0

    @property
    def precision(self) -> float:
        return self.found / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        return self.found / self.labelled if self.labelled else 0.0

    @property
    def f2(self) -> float:
        weight = BETA * BETA
        denominator = weight * self.precision + self.recall
        return (1 + weight) * self.precision * self.recall / denominator if denominator else 0.0

    def add(self, other: Counts) -> None:
        self.labelled += other.labelled
        self.predicted += other.predicted
        self.found += other.found


@dataclass
class Score:
    """Counts over all spans regardless of type, and by type."""

    overall: Counts = field(default_factory=Counts)
    by_type: dict[str, Counts] = field(default_factory=dict)

    def read(self, text: str, labelled: Iterable[Span], predicted: Iterable[Span], iou: float = IOU) -> None:
        """Add the counts of one text."""
        truth, guess = normal(text, labelled), normal(text, predicted)
        self.overall.add(_counted(truth, guess, iou))
        for entity in {span.entity for span in (*truth, *guess)}:
            own = _counted(_only(truth, entity), _only(guess, entity), iou)
            self.by_type.setdefault(entity, Counts()).add(own)


def normal(text: str, spans: Iterable[Span]) -> list[Span]:
    """The spans in order, trimmed and joined. Spans without a word that counts are dropped."""
    joined: list[Span] = []
    for span in sorted(filter(None, (_trimmed(text, span) for span in spans))):
        last = joined[-1] if joined else None
        if last and last.entity == span.entity and not any(_identifying_words(text, last.end, span.start)):
            joined[-1] = Span(last.start, max(last.end, span.end), span.entity)
        else:
            joined.append(span)
    return joined


def _trimmed(text: str, span: Span) -> Span | None:
    words = list(_identifying_words(text, span.start, span.end))
    return Span(words[0].start(), words[-1].end(), span.entity) if words else None


def _identifying_words(text: str, start: int, end: int) -> Iterable[re.Match[str]]:
    empty = _empty_words()
    return (match for match in _TOKEN.finditer(text, start, end) if match.group().lower() not in empty and not _is_sign(match.group()))


def _is_sign(token: str) -> bool:
    return len(token) == 1 and not token.isalnum()


@cache
def _empty_words() -> frozenset[str]:
    from spacy.lang.en.stop_words import STOP_WORDS

    return frozenset(STOP_WORDS) | frozenset(_EMPTY.split())


def _only(spans: Iterable[Span], entity: str) -> list[Span]:
    return [span for span in spans if span.entity == entity]


def _counted(truth: Sequence[Span], guess: Sequence[Span], iou: float) -> Counts:
    unused, found = Counter(guess), 0
    for span in truth:
        covering = _covering(span, sorted(unused.elements()))
        if covering and _iou(span, covering) >= iou:
            found += 1
            unused -= Counter(covering)
    return Counts(len(truth), found + unused.total(), found)


def _covering(span: Span, guess: Sequence[Span]) -> list[Span]:
    """The overlapping predictions that improve the coverage of this span, chosen from left to right."""
    chosen: list[Span] = []
    best = 0.0
    for other in guess:
        if other.start < span.end and span.start < other.end and (score := _iou(span, [*chosen, other])) > best:
            chosen, best = [*chosen, other], score
    return chosen


def _iou(span: Span, covering: Sequence[Span]) -> float:
    """Intersection over union in characters. Gaps between covering spans count as covered, as separators do in presidio-evaluator."""
    start, end = covering[0].start, max(other.end for other in covering)
    common = min(end, span.end) - max(start, span.start)
    return max(0, common) / (max(end, span.end) - min(start, span.start))
