"""A tenant's cache of embeddings, by model and text hash. Content-addressed, so that writes need no compare-and-set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pgvector import HalfVector
from pgvector.psycopg import register_vector

from core.sql import statements
from core.tenancy import Connection


def unknown(connection: Connection, model: str, text_hashes: Sequence[str]) -> list[str]:
    """The texts without a vector of this model: distinct hashes, in the given order."""
    values = {"model": model, "text_hashes": list(text_hashes)}
    known = {row["text_hash"] for row in connection.execute(_SQL["known"], values)}
    return [text_hash for text_hash in dict.fromkeys(text_hashes) if text_hash not in known]


def keep(connection: Connection, model: str, text_hashes: Sequence[str], vectors: npt.NDArray[np.float32]) -> None:
    """Store `(n, dim)` unit vectors under their texts' hashes. A vector that exists already stays."""
    if connection.adapters.types.get("halfvec") is None:
        # in binary: writing a vector as text takes 70 times as long, and Postgres has to read it
        register_vector(connection)
    values = {"model": model, "text_hashes": list(text_hashes), "embeddings": [HalfVector(vector) for vector in vectors]}
    connection.execute(_SQL["keep"], values)


_SQL = statements("index", "sql/embeddings.sql")
