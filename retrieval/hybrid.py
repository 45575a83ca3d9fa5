"""Search by meaning and by words: the ranking by the fused score (`retrieval.fusion`), as if every chunk had been scored.

Each side gives its best chunks, and every chunk of their union gets its exact score of the other side. No other chunk's fused score exceeds
that of the two sides' last scores together: the union is ranked right down to there (the threshold algorithm: Fagin, Lotem and Naor,
Optimal aggregation algorithms for middleware, 2003). More of both sides are read while too few chunks are above it.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from core.tenancy import Connection
from retrieval import lexical, vector
from retrieval.access import Scope
from retrieval.fusion import Weighing, by_rank, by_score
from retrieval.ranking import Ranked, Ranking

SIDE = 100
"""Candidates of a side, at first."""
MOST_CANDIDATES = 4_000
"""Of a side."""
RANKED = 1_000
"""Of a side, for reciprocal ranks: a rank beyond counts nothing, however many passages are asked for."""


class Hybrid(msgspec.Struct, frozen=True):
    """One query in one scope. `vector`: the query's, as pgvector's text."""

    connection: Connection
    generation: vector.Generation
    vector: str
    terms: lexical.Terms
    scope: Scope
    weighing: Weighing

    def by_scores(self, number: int) -> Ranking:
        """So many chunks at least, by the weighted sum of their scores."""
        side = max(SIDE, number)
        while True:
            nearest, wordy = self._sides(side)
            fused = by_score(*self._scores(nearest, wordy), self.weighing)
            if nearest.is_all or side >= MOST_CANDIDATES:
                return Ranking(fused)
            # a chunk that neither side has: its cosine and its share are no higher than the last of each
            floor = (-self.weighing.score(nearest.last or 0.0, wordy.last or 0.0), "")
            certain = [one for one in fused if one.place < floor]
            if len(certain) >= number:
                return Ranking(certain, floor)
            side *= 4

    def by_ranks(self, number: int) -> Ranking:  # noqa: ARG002
        """All chunks of both sides, by their reciprocal ranks."""
        nearest, wordy = self._sides(RANKED)
        return Ranking(by_rank([*nearest.scores], [*wordy.scores], *self._scores(nearest, wordy), self.weighing))

    def _sides(self, side: int) -> tuple[Ranked, Ranked]:
        nearest = vector.nearest(self.connection, self.generation, self.vector, self.scope, side)
        return nearest, lexical.best(self.connection, self.terms, self.scope, side)

    def _scores(self, nearest: Ranked, wordy: Ranked) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Of the union: chunk → cosine, and chunk → share of those that have a term."""
        number = self.scope.generation
        cosines = vector.cosines(self.connection, number, self.vector, [*(wordy.scores.keys() - nearest.scores.keys())])
        shares = lexical.shares(self.connection, self.terms, number, [*(nearest.scores.keys() - wordy.scores.keys())])
        return {**nearest.scores, **cosines}, {**wordy.scores, **shares}
