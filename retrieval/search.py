"""Search by vector, exactly, as one tenant's reader and with the caller's principals; every passage with its citations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt
from pgvector import HalfVector

from core.errors import HeadraceError
from core.records import convert
from core.sql import statements
from core.tenancy import Connection, Database

EVERYONE = "*"
"""The principal that every caller has."""


class QueryEncoder(Protocol):
    """The embedding model as a searcher needs it: which it is, and a query's unit vector `(1, dim)`."""

    @property
    def identity(self) -> str: ...

    def encode(self, texts: Sequence[str], kind: Any) -> npt.NDArray[np.float32]: ...


class Citation(msgspec.Struct, frozen=True):
    """One readable source of a passage. `document` is its id after redaction; `page` is 1-based where there are pages."""

    document: str
    document_key: str
    title: str
    uri: str
    page: int | None
    ordinal: int
    sequence: int


class Passage(msgspec.Struct, frozen=True):
    """A passage found: its text, its place, the cosine similarity to the query (−1 to 1), and who may be cited for it."""

    chunk: str
    text: str
    heading_path: tuple[str, ...]
    score: float
    citations: tuple[Citation, ...]


def search(
    database: Database, encoder: QueryEncoder, tenant: str, query: str, *, principals: Sequence[str] = (), top: int = 5
) -> list[Passage]:
    """The `top` nearest passages that one of `principals`, or everyone, may read; best first.

    `query` should be redacted as the tenant's documents were (`privacy.redact_text`), so that a hidden value finds itself.
    Raises TenantError, Unavailable, and HeadraceError (`model-mismatch`) where the index was built with another model.
    """
    with database.tenant(tenant) as connection:
        if not _has_generation(connection, encoder.identity):
            return []
    vector = HalfVector(encoder.encode([query], "query")[0]).to_text()
    values = {"vector": vector, "model": encoder.identity, "principals": sorted({*principals, EVERYONE}), "top": top}
    with database.tenant(tenant) as connection:
        rows = connection.execute(statements("retrieval", "sql/search.sql")["search"], values).fetchall()
        if not rows:
            # nothing may also mean that another model's generation became the active one meanwhile
            _has_generation(connection, encoder.identity)
    return [_passage(row) for row in rows]


def _has_generation(connection: Connection, model: str) -> bool:
    rows = connection.execute(statements("retrieval", "sql/search.sql")["model"]).fetchall()
    if rows and rows[0]["model"] != model:
        raise HeadraceError(
            "this tenant's active index was built with another embedding model",
            reason="model-mismatch",
            remedy="Run `headrace ingest` to build the new generation, or configure the model it was built with.",
        )
    return bool(rows)


def _passage(row: dict[str, Any]) -> Passage:
    citations = tuple(convert(source, Citation) for source in row["cited"])
    return Passage(row["chunk"], row["text"], tuple(row["heading_path"]), float(row["score"]), citations)
