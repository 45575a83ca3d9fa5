"""How good rankings of documents are, by judgements: measures, their intervals, and the difference between two rankings, query by query.

Pure: what is ranked, and how, is up to the caller. The measures are trec_eval's, by `ir_measures`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

DEPTH = 100
"""Documents of a ranking that are looked at, unless the caller says otherwise."""
NDCG = "ndcg_at_10"
RESAMPLES = 2_000
SEED = 1
"""The same rankings have the same intervals."""

Grades = Mapping[str, Mapping[str, int]]
"""Query → document → grade."""
Rankings = Mapping[str, Sequence[str]]
"""Query → documents, best first."""


class Interval(msgspec.Struct, frozen=True):
    """A mean over queries, and the bounds between which 95% of the means of resampled queries lie (percentile bootstrap: Efron and
    Tibshirani, An Introduction to the Bootstrap, 1993). None for a single query, from which nothing can be resampled."""

    mean: float
    low: float | None
    high: float | None

    @property
    def is_apart_from_zero(self) -> bool:
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


class Change(msgspec.Struct, frozen=True):
    """A query's measure with one configuration and with the other, 0 to 1."""

    query: str
    before: float
    after: float


class Difference(msgspec.Struct, frozen=True):
    """One configuration less another, of one measure, over the queries that both have: paired, query by query.

    `better`, `worse`, `equal`: numbers of queries. `changes`: those that differ, the greatest loss first.
    """

    interval: Interval
    better: int
    worse: int
    equal: int
    changes: list[Change]


def measures(grades: Grades, rankings: Rankings, depth: int = DEPTH) -> dict[str, dict[str, float]]:
    """Measure → query → value, 0 to 1, for each query that has grades: `ndcg_at_10`, `recall_at_<depth>`, `mrr_at_10`, and `map` over the
    first `depth` documents. A query without a ranking has 0; a document without a grade is not relevant.

    nDCG takes the grade itself as the gain, as trec_eval does (Järvelin and Kekäläinen, Cumulated gain-based evaluation of IR techniques,
    2002); the others take every grade above 0 as relevant.
    """
    import ir_measures
    from ir_measures import AP, RR, R, nDCG

    names = {nDCG @ 10: NDCG, R @ depth: f"recall_at_{depth}", RR @ 10: "mrr_at_10", AP @ depth: "map"}
    found: dict[str, dict[str, float]] = {name: {} for name in names.values()}
    for metric in ir_measures.iter_calc(list(names), grades, {query: _scored(ranking[:depth]) for query, ranking in rankings.items()}):
        found[names[metric.measure]][metric.query_id] = float(metric.value)
    return found


def _scored(ranking: Sequence[str]) -> dict[str, float]:
    # trec_eval orders by score and then by id: a place as the score keeps the order
    return {document: float(len(ranking) - place) for place, document in enumerate(ranking)}


def interval(values: Sequence[float]) -> Interval:
    """The mean and its interval. `values`: one for each query, at least one."""
    found = np.asarray(values, dtype=np.float64)
    if len(found) == 1:
        return Interval(float(found[0]), None, None)
    low, high = np.quantile(_resampled_means(found), [0.025, 0.975])
    return Interval(float(found.mean()), float(low), float(high))


def difference(before: Mapping[str, float], after: Mapping[str, float]) -> Difference:
    """`after` less `before`, query → value each. There has to be a query that both have."""
    shared = sorted(before.keys() & after.keys())
    changes = [Change(query, before[query], after[query]) for query in shared if before[query] != after[query]]
    changes.sort(key=lambda change: (change.after - change.before, change.query))
    better = sum(change.after > change.before for change in changes)
    spread = interval([after[query] - before[query] for query in shared])
    return Difference(spread, better, len(changes) - better, len(shared) - len(changes), changes)


def _resampled_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Queries are drawn with replacement, by turns, so that memory stays small."""
    drawn = np.random.default_rng(SEED)
    return np.array([values[drawn.integers(0, len(values), len(values))].mean() for _ in range(RESAMPLES)])
