"""Search by vector: the chunks of a generation that are nearest to the query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, Protocol

import msgspec
import numpy as np
import numpy.typing as npt
from psycopg import sql

from core.errors import HeadraceError
from core.records import convert
from core.sql import statements
from core.tenancy import Connection
from retrieval.access import Scope
from retrieval.fusion import mean_cosine
from retrieval.ranking import Ranked

Plan = Literal["exact", "exact_filtered", "exact_of_few", "exact_of_documents", "indexed"]
"""How chunks are ranked: by comparing all that pass the filter, those of few access lists or of few documents alone, or by the generation's
HNSW index."""

EF_SEARCH: Final = 64
"""Chunks that a search of an HNSW index keeps in view."""
MOST_SCANNED: Final = 40_000
"""Chunks that a search of an HNSW index looks at before it gives up, and every chunk is compared."""
SAMPLE: Final = 256
"""Chunks whose mean cosine stands for all."""


class QueryEncoder(Protocol):
    """The part of an embedding model that search needs."""

    @property
    def identity(self) -> str:
        """Equal only for models that return the same vectors (`core.records.EmbeddingModel`)."""
        ...

    def encode(self, texts: Sequence[str], kind: Any) -> npt.NDArray[np.float32]:
        """`(n, dim)` unit vectors; `kind` is "query"."""
        ...


class Generation(msgspec.Struct, frozen=True):
    """The generation that is searched. `indexed`: whether it has an HNSW index that is ready. `model_name`: its model's in the
    configuration."""

    generation: int
    model: str
    dimension: int
    indexed: bool | None
    model_name: str = ""


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


def nearest(connection: Connection, generation: Generation, vector: str, scope: Scope, look: int) -> Ranked:
    """The `look` nearest chunks of the scope, or all; the score is the cosine similarity to the query, -1 to 1. `vector` as pgvector's
    text.

    Chunks whose access list has narrowed since the last swap are among them.
    """
    for plan in _plans(generation, scope):
        best = ranked(connection, plan, generation, vector, scope, look)
        if len(best) == look:
            return Ranked(best, is_all=False)
    # the index had no more, or gave up: then every chunk was compared
    return Ranked(best, is_all=True)


def _plans(generation: Generation, scope: Scope) -> Sequence[Plan]:
    if scope.documents is not None:
        return ["exact_of_documents"]
    if scope.lists is not None:
        return ["exact_of_few"]
    exact: Plan = "exact_filtered" if scope.filters.given() else "exact"
    return ["indexed", exact] if generation.indexed else [exact]


def ranked(connection: Connection, plan: Plan, generation: Generation, vector: str, scope: Scope, look: int) -> dict[str, float]:
    """Chunk → score of the `look` nearest chunks of the scope by this plan, best first. The plan `indexed` sets how this transaction
    searches."""
    if plan == "indexed":
        search_by_index(connection)
    values = {**scope.values, "vector": vector, "look": look}
    return {row["chunk"]: float(row["score"]) for row in connection.execute(statement(plan, generation, scope), values)}


def search_by_index(connection: Connection) -> None:
    """Let this transaction's statements search HNSW indexes as a search does."""
    connection.execute(_SQL["scan"], {"ef_search": str(EF_SEARCH), "scanned": str(MOST_SCANNED)})


def statement(plan: Plan, generation: Generation, scope: Scope) -> sql.Composed:
    """With the generation in the text and not as a parameter: by it Postgres finds the index, and a text has its own plan."""
    number = sql.Literal(generation.generation)
    passing = scope.passing(number) if scope.filters.given() else sql.SQL("true")
    return sql.SQL(_SQL[plan]).format(generation=number, dimension=sql.Literal(generation.dimension), passing=passing)


def cosines(connection: Connection, generation: int, vector: str, chunks: Sequence[str]) -> dict[str, float]:
    """Chunk → score of these chunks, as `ranked` has it."""
    values = {"generation": generation, "vector": vector, "chunks": list(chunks)}
    return {row["chunk"]: float(row["score"]) for row in connection.execute(_SQL["cosines"], values)}


def mean(connection: Connection, generation: int) -> float:
    """The mean cosine between the generation's passages, whoever may read them: of the same sample for the same passages."""
    [row] = connection.execute(_SQL["mean"], {"generation": generation, "sample": SAMPLE})
    return mean_cosine(row["squared_length"], row["vectors"])


_SQL = statements("retrieval", "sql/vector.sql")
