"""Generations: a chunker and an embedder together, so that vectors of two models never meet in one search."""

from __future__ import annotations

from typing import Any

from core.sql import statements
from core.tenancy import Connection


def open_generation(connection: Connection, fingerprint: str, model: str, dimension: int) -> int:
    """The number of this tenant's generation of that fingerprint, made where there is none."""
    connection.execute(_sql("lock"))
    values = {"fingerprint": fingerprint, "model": model, "dimension": dimension}
    return int(connection.execute(_sql("open"), values).fetchall()[0]["generation"])


def promote(connection: Connection, generation: int, fingerprint: str) -> bool:
    """Make a generation that is complete the active one and clear the one before, in this transaction. True where it switched."""
    connection.execute(_sql("lock"))
    if connection.execute(_sql("unfinished"), {"fingerprint": fingerprint}).fetchall()[0]["unfinished"]:
        return False
    retired = [row["generation"] for row in connection.execute(_sql("retire"), {"generation": generation})]
    if not retired:
        return False
    connection.execute(_sql("activate"), {"generation": generation})
    for clear in ("clear_sources", "clear_chunks", "clear_indexed"):
        connection.execute(_sql(clear), {"generations": retired})
    return True


def _sql(name: str) -> Any:
    return statements("index", "sql/generations.sql")[name]
