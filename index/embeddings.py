"""What a tenant has embedded under a model already. Content-addressed, so that writing it needs no compare-and-set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pgvector import HalfVector

from core.sql import statements
from core.tenancy import Connection


def unknown(connection: Connection, model: str, text_hashes: Sequence[str]) -> list[str]:
    """Those of the texts, in order and each once, that have no vector under this model."""
    values = {"model": model, "text_hashes": list(text_hashes)}
    known = {row["text_hash"] for row in connection.execute(_sql("known"), values)}
    return [text_hash for text_hash in dict.fromkeys(text_hashes) if text_hash not in known]


def keep(connection: Connection, model: str, text_hashes: Sequence[str], vectors: npt.NDArray[np.float32]) -> None:
    """Store `(n, dim)` unit vectors beside their texts' hashes. A vector that is there already stays."""
    texts = [HalfVector(vector).to_text() for vector in vectors]
    connection.execute(_sql("keep"), {"model": model, "text_hashes": list(text_hashes), "embeddings": texts})


def _sql(name: str) -> Any:
    return statements("index", "sql/embeddings.sql")[name]
