"""The comparison of a new generation with the active one, on the tenant's canary queries, and whether it passes.

Without canary queries, titles and headings of the tenant's own documents are asked for. Every document counts, whoever may read it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import msgspec
from pgvector import HalfVector

from core.ledger.stage import Session
from core.policy import Evaluation
from core.tenancy import Connection
from pipelines.operations import canaries
from pipelines.operations.canaries import Canary, Stored
from quality.rankings import DEPTH, ndcg, overlap, recall

if TYPE_CHECKING:
    from embedders.stage import Embedder
    from index.generations import Generation
    from retrieval.vector import Generation as Searched

SAMPLED = 100
"""Titles and headings, where a tenant has no canary queries."""
CHUNKS = 5 * DEPTH
"""Chunks that the documents of a ranking are taken from."""
LEAST_RECALL = 0.95
"""Of a search of the new generation, against comparing every vector."""
LEAST_OVERLAP = 0.25
"""Of the documents that both find first, unless there are judgements. Low, because those of good models often overlap little (Caspari et
al., Beyond Benchmarks: Evaluating Embedding Model Similarity for Retrieval Augmented Generation Systems, 2024)."""


class Measure(msgspec.Struct, frozen=True):
    """One number of both generations, a mean over queries, 0 to 1. `least`: what the new one has to reach; None if it decides nothing."""

    name: str
    active: float | None
    new: float
    least: float | None = None

    @property
    def passed(self) -> bool:
        return self.least is None or self.new >= self.least


class Comparison(msgspec.Struct, frozen=True):
    """The comparison of two generations on `queries` queries, of which `judged` have judgements; `sampled`: these are titles and headings.

    `documents`: how many the active and the new generation list. `refused`: by reason, how many the new one cannot take.
    """

    queries: int
    judged: int
    sampled: bool
    documents: tuple[int, int]
    refused: dict[str, int]
    measures: tuple[Measure, ...]

    @property
    def failed(self) -> list[str]:
        """The names of the measures that do not pass."""
        return [measure.name for measure in self.measures if not measure.passed]


class Side(msgspec.Struct, frozen=True):
    """A generation, and the model that it was built with."""

    generation: Generation
    embedder: Embedder


def compare(session: Session, active: Side, new: Side, refused: Mapping[str, int]) -> Comparison:
    """Ask both generations. Raises as the embedders do."""
    with session.transaction() as connection:
        stored = canaries.stored(connection)
        queries = stored or _sampled(connection, active.generation)
    rankings = [_rankings(session, side, queries) for side in (active, new)]
    judged = sum(1 for query in queries if query.judgements)
    sizes = (active.generation.documents, new.generation.documents)
    measures = _measures(queries, rankings[0], rankings[1], session.policy.evaluation)
    return Comparison(len(queries), judged, not stored, sizes, dict(refused), tuple(measures))


class Ranking(msgspec.Struct, frozen=True):
    """The answer of a generation: chunks as a search finds them, those that are nearest, and the documents that are found."""

    found: list[str]
    exact: list[str]
    documents: list[str]


def _rankings(session: Session, side: Side, queries: Sequence[Canary | Stored]) -> list[Ranking]:
    if not queries:
        return []
    vectors = side.embedder.encode([query.query for query in queries], "query")
    with session.transaction() as connection:
        return [_ranking(connection, side.generation, HalfVector(vector).to_text()) for vector in vectors]


def _ranking(connection: Connection, generation: Generation, vector: str) -> Ranking:
    from retrieval.compare import documents, nearest

    searched = _searched(generation)
    exact = nearest(connection, searched, vector, CHUNKS, exact=True)
    found = nearest(connection, searched, vector, CHUNKS, exact=False) if generation.indexed else exact
    return Ranking(found, exact, documents(connection, searched, found)[:DEPTH])


def _sampled(connection: Connection, active: Generation) -> list[Canary]:
    from retrieval.compare import sampled

    return [Canary(query) for query in sampled(connection, _searched(active), SAMPLED)]


def _searched(generation: Generation) -> Searched:
    from retrieval.vector import Generation as Searched

    return Searched(generation.generation, generation.model, generation.dimension, generation.indexed)


def _measures(queries: Sequence[Canary | Stored], active: Sequence[Ranking], new: Sequence[Ranking], gate: Evaluation) -> Iterator[Measure]:
    if not queries:
        return
    recalls = [fmean(recall(one.found, one.exact) for one in side) for side in (active, new)]
    yield Measure(f"recall@{DEPTH}", recalls[0], recalls[1], LEAST_RECALL)
    judged = [at for at, query in enumerate(queries) if query.judgements]
    shared = fmean(overlap(one.documents, other.documents) for one, other in zip(active, new, strict=True))
    yield Measure(f"overlap@{DEPTH}", None, shared, None if judged else LEAST_OVERLAP)
    if judged:
        gains = [fmean(ndcg(side[at].documents, queries[at].judgements) for at in judged) for side in (active, new)]
        yield Measure(f"nDCG@{DEPTH}", gains[0], gains[1], max(0.0, gains[0] - gate.most_ndcg_loss))
