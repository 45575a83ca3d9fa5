"""What a tenant's tables and indexes take on disk, and what that is for each of its passages: the figures that capacity is planned with."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from core.records import convert
from core.sql import statements
from core.tenancy import Connection
from pipelines.resources import Resources


class TableSize(msgspec.Struct, frozen=True):
    """A table of a tenant. `rows` as Postgres last counted them, None if it never did. `table_bytes` has long values (TOAST) too.

    `bytes_per_chunk`: of table and indexes, by the chunks of all generations; None without chunks.
    """

    table: str
    rows: int | None
    table_bytes: int
    index_bytes: int
    bytes_per_chunk: float | None


class VectorIndex(msgspec.Struct, frozen=True):
    """An HNSW index, as `index.vector_index` records it: `state` "building" or "ready", `done` 0 to 1, the `seconds` of its build."""

    state: str
    done: float = 1.0
    m: int | None = None
    ef_construction: int | None = None
    seconds: float | None = None


class StorageSizes(msgspec.Struct, frozen=True):
    """A tenant's storage. `chunks`: of all generations. `tables`: the largest first. `vector_index`: of the active generation; None while
    search is exact."""

    tenant: str
    chunks: int
    bytes: int
    bytes_per_chunk: float | None
    vector_index: VectorIndex | None
    tables: Sequence[TableSize]


def sizes(resources: Resources, tenant: str) -> StorageSizes:
    """The tenant's storage as of now. Counts its chunks; everything else is read from Postgres' catalogs."""
    with resources.database.tenant(tenant) as connection:
        [known] = connection.execute(_SQL["chunks"]).fetchall()
        tables = _tables(connection, known["chunks"])
    total = sum(table.table_bytes + table.index_bytes for table in tables)
    index = convert(known["vector_index"], VectorIndex) if known["vector_index"] else None
    return StorageSizes(tenant, known["chunks"], total, _per(total, known["chunks"]), index, tables)


def _tables(connection: Connection, chunks: int) -> list[TableSize]:
    rows = connection.execute(_SQL["tables"])
    return [TableSize(**row, bytes_per_chunk=_per(row["table_bytes"] + row["index_bytes"], chunks)) for row in rows]


def _per(size: int, chunks: int) -> float | None:
    return round(size / chunks, 1) if chunks else None


_SQL = statements("pipelines.operations", "sql/sizes.sql")
