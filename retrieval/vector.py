"""Candidates by vector search: the chunks of the active generation that are nearest to the query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
from pgvector import HalfVector

from core.errors import HeadraceError
from core.sql import statements
from core.tenancy import Connection
from retrieval.access import allowed
from retrieval.candidates import Candidate, OpenReader
from retrieval.citations import cite
from retrieval.request import SearchRequest

SPARE: Final = 16
"""Chunks that are ranked beyond those asked for: some pass the filter and have no readable source."""


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
            if _generation(connection, model) is None:
                return []
        vector = HalfVector(self._encoder.encode([request.query], "query")[0]).to_text()
        with open_reader() as connection:
            # another generation may have been promoted in the meantime
            generation = _generation(connection, model)
            return [] if generation is None else _nearest(connection, generation, vector, request)


def _generation(connection: Connection, model: str) -> int | None:
    """The active generation; None if there is none. Raises HeadraceError (`model-mismatch`) if it was built with another model."""
    rows = connection.execute(_SQL["generation"]).fetchall()
    if rows and rows[0]["model"] != model:
        raise HeadraceError(
            "this tenant's active index was built with another embedding model",
            reason="model-mismatch",
            remedy="Run `headrace ingest` to build the new generation, or configure the model it was built with.",
        )
    return rows[0]["generation"] if rows else None


def _nearest(connection: Connection, generation: int, vector: str, request: SearchRequest) -> list[Candidate]:
    few = allowed(connection, request.readers).lists
    statement = "exact" if few is None else "exact_of_few"
    values = {"generation": generation, "vector": vector, "readers": request.readers, "lists": list(few or ())}
    look = request.top + SPARE
    while True:
        ranked = {row["chunk"]: float(row["score"]) for row in connection.execute(_SQL[statement], {**values, "look": look})}
        found = cite(connection, generation, list(ranked), request.readers, request.top)
        if len(found) == request.top or len(ranked) < look:
            return [Candidate(one.chunk, one.text, one.heading_path, ranked[one.chunk], one.cited) for one in found]
        look *= 4


_SQL = statements("retrieval", "sql/vector.sql")
