"""Rankings of one generation over all its documents, whoever may read them: for comparing generations, not for answers."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from core.sql import statements
from core.tenancy import Connection
from retrieval.vector import Generation, search_by_index


def nearest(connection: Connection, generation: Generation, vector: str, look: int, *, exact: bool) -> list[str]:
    """The `look` nearest chunks, best first: by comparing all, or as a search finds them. `vector` as pgvector's text.

    The latter sets how this transaction searches.
    """
    plan = "indexed" if generation.indexed and not exact else "exact"
    if plan == "indexed":
        search_by_index(connection)
    parts = {"generation": sql.Literal(generation.generation), "dimension": sql.Literal(generation.dimension)}
    rows = connection.execute(sql.SQL(_SQL[plan]).format(**parts), {"vector": vector, "look": look})
    return [row["text_hash"] for row in rows]


def documents(connection: Connection, generation: Generation, chunks: Sequence[str]) -> list[str]:
    """The documents that these chunks are from, each at its best chunk's place."""
    rows = connection.execute(_SQL["documents"], {"generation": generation.generation, "chunks": list(chunks)})
    return [row["document"] for row in rows]


def sampled(connection: Connection, generation: Generation, queries: int) -> list[str]:
    """Up to so many of the generation's titles and headings, the same ones for the same documents."""
    rows = connection.execute(_SQL["sampled"], {"generation": generation.generation, "queries": queries})
    return [row["query"] for row in rows]


_SQL = statements("retrieval", "sql/compare.sql")
