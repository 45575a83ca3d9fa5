"""Candidates by vector search: the chunks of the active generation that are nearest to the query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, Protocol

import msgspec
import numpy as np
import numpy.typing as npt
from pgvector import HalfVector
from psycopg import sql

from core.errors import HeadraceError
from core.records import convert
from core.sql import statements
from core.tenancy import Connection
from retrieval.access import few_lists
from retrieval.candidates import Candidate, OpenReader
from retrieval.citations import cite
from retrieval.request import SearchRequest

Plan = Literal["exact", "exact_of_few", "indexed"]
"""How chunks are ranked: by comparing all that pass the filter, those of few access lists alone, or by the generation's HNSW index."""

SPARE: Final = 16
"""Chunks that are ranked beyond those asked for: some pass the filter and have no readable source."""
EF_SEARCH: Final = 64
"""Chunks that a search of an HNSW index keeps in view."""
MOST_SCANNED: Final = 40_000
"""Chunks that a search of an HNSW index looks at before it gives up, and every chunk is compared."""


class QueryEncoder(Protocol):
    """The part of an embedding model that search needs."""

    @property
    def identity(self) -> str:
        """Equal only for models that return the same vectors (`core.records.EmbeddingModel`)."""
        ...

    def encode(self, texts: Sequence[str], kind: Any) -> npt.NDArray[np.float32]:
        """`(n, dim)` unit vectors; `kind` is "query"."""
        ...


class VectorSearch:
    """The nearest chunks; the score is the cosine similarity to the query, -1 to 1.

    Raises HeadraceError (`model-mismatch`) if the index was built with another model than the encoder's.
    """

    def __init__(self, encoder: QueryEncoder) -> None:
        self._encoder = encoder

    def candidates(self, open_reader: OpenReader, request: SearchRequest) -> list[Candidate]:
        model = self._encoder.identity
        with open_reader() as connection:
            if active_generation(connection, model) is None:
                return []
        vector = HalfVector(self._encoder.encode([request.query], "query")[0]).to_text()
        with open_reader() as connection:
            # another generation may have been promoted in the meantime
            generation = active_generation(connection, model)
            return [] if generation is None else _nearest(connection, generation, vector, request)


class Generation(msgspec.Struct, frozen=True):
    """The generation that is searched. `indexed`: whether it has an HNSW index that is ready."""

    generation: int
    model: str
    dimension: int
    indexed: bool | None


def active_generation(connection: Connection, model: str | None = None) -> Generation | None:
    """The generation to search with this model: the active one, or, after a switch to another model, the one that stands by.

    Without a model, the active one. None if there is none. Raises HeadraceError (`model-mismatch`) if both were built with other models.
    """
    rows = connection.execute(_SQL["generation"], {"model": model}).fetchall()
    generation = convert(rows[0], Generation) if rows else None
    if generation and model not in (None, generation.model):
        raise HeadraceError(
            "this tenant's active index was built with another embedding model",
            reason="model-mismatch",
            remedy="Run `headrace ingest` to build the new generation, or configure the model it was built with.",
        )
    return generation


def _nearest(connection: Connection, generation: Generation, vector: str, request: SearchRequest) -> list[Candidate]:
    few = few_lists(connection, request.readers)
    plans: list[Plan] = ["exact_of_few"] if few is not None else ["indexed", "exact"] if generation.indexed else ["exact"]
    look = request.limit + SPARE
    while True:
        best = ranked(connection, plans[0], generation, vector, request.readers, look, few or ())
        found = cite(connection, generation.generation, list(best), request.readers, request.limit)
        if len(found) == request.limit or (len(best) < look and len(plans) == 1):
            return [Candidate(one.chunk, one.text, one.heading_path, best[one.chunk], one.cited, one.parent) for one in found]
        if len(best) < look or look >= MOST_SCANNED:
            plans = plans[-1:]  # the index has no more: it stops a scan that finds too little
        look *= 4


def ranked(
    connection: Connection, plan: Plan, generation: Generation, vector: str, readers: Sequence[str], look: int, lists: Sequence[int] = ()
) -> dict[str, float]:
    """Chunk → score of the `look` nearest chunks that pass the filter, best first. `vector` as pgvector's text.

    `lists`: of the plan `exact_of_few` (`retrieval.access`). The plan `indexed` sets how this transaction searches.
    """
    if plan == "indexed":
        search_by_index(connection)
    values = {"vector": vector, "readers": list(readers), "look": look, "lists": list(lists)}
    return {row["chunk"]: float(row["score"]) for row in connection.execute(statement(plan, generation), values)}


def search_by_index(connection: Connection) -> None:
    """Let this transaction's statements search HNSW indexes as a search does."""
    connection.execute(_SQL["scan"], {"ef_search": str(EF_SEARCH), "scanned": str(MOST_SCANNED)})


def statement(plan: Plan, generation: Generation) -> sql.Composed:
    """With the generation in the text and not as a parameter: by it Postgres finds the index, and a text has its own plan."""
    return sql.SQL(_SQL[plan]).format(generation=sql.Literal(generation.generation), dimension=sql.Literal(generation.dimension))


_SQL = statements("retrieval", "sql/vector.sql")
