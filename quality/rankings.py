"""How alike two rankings are, and how good one is. Rankings are ids, best first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log2

DEPTH = 10
"""How far down a ranking is looked at."""


def recall(found: Sequence[str], exact: Sequence[str]) -> float:
    """The share of the first `DEPTH` of `exact` among the first of `found`, 0 to 1; 1 if there are none."""
    wanted = set(exact[:DEPTH])
    return len(wanted.intersection(found[:DEPTH])) / len(wanted) if wanted else 1.0


def overlap(first: Sequence[str], second: Sequence[str]) -> float:
    """The share that the first `DEPTH` of both have in common, of the longer one, 0 to 1; 1 if both are empty."""
    longest = max(len(first[:DEPTH]), len(second[:DEPTH]))
    return len(set(first[:DEPTH]).intersection(second[:DEPTH])) / longest if longest else 1.0


def ndcg(found: Sequence[str], grades: Mapping[str, float]) -> float:
    """Normalised discounted cumulative gain of the first `DEPTH`, 0 to 1, with the grade itself as gain, as trec_eval has it
    (Järvelin and Kekäläinen, Cumulated gain-based evaluation of IR techniques, 2002). 0 if no grade is positive."""
    best = _gain(sorted((grade for grade in grades.values() if grade > 0), reverse=True))
    return _gain([max(grades.get(document, 0.0), 0.0) for document in found]) / best if best else 0.0


def _gain(grades: Sequence[float]) -> float:
    return sum(grade / log2(rank + 2) for rank, grade in enumerate(grades[:DEPTH]))
