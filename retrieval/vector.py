"""Candidates by exact vector search: every readable chunk of the active generation is compared with the query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from pgvector import HalfVector

from core.errors import HeadraceError
from core.sql import statements
from core.tenancy import Connection
from retrieval.candidates import Candidate, OpenReader
from retrieval.citations import citations
from retrieval.request import SearchRequest


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
            if not _has_generation(connection, model):
                return []
        vector = HalfVector(self._encoder.encode([request.query], "query")[0]).to_text()
        values = {"vector": vector, "model": model, "principals": request.readers, "top": request.top}
        with open_reader() as connection:
            rows = connection.execute(_SQL["nearest"], values).fetchall()
            if not rows:
                # a generation of another model may have been promoted in the meantime
                _has_generation(connection, model)
        return [_candidate(row) for row in rows]


def _has_generation(connection: Connection, model: str) -> bool:
    rows = connection.execute(_SQL["model"]).fetchall()
    if rows and rows[0]["model"] != model:
        raise HeadraceError(
            "this tenant's active index was built with another embedding model",
            reason="model-mismatch",
            remedy="Run `headrace ingest` to build the new generation, or configure the model it was built with.",
        )
    return bool(rows)


def _candidate(row: dict[str, Any]) -> Candidate:
    return Candidate(row["chunk"], row["text"], tuple(row["heading_path"]), float(row["score"]), citations(row["cited"]))


_SQL = statements("retrieval", "sql/vector.sql")
