"""HNSW indexes, by need: a generation is searched exactly until it is large.

An index belongs to one generation, because generations may differ in dimension, and vectors of two models must not meet. It is built
beside reads and writes (`CREATE INDEX CONCURRENTLY`) by the tables' owner, on a connection of its own.

m is 16; ef_construction is 200, because with pgvector's default of 64 the recall under filters stays at .95, whatever a search does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from time import monotonic
from typing import Any

import psycopg
from psycopg import errors, sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from core import timeouts
from core.sql import statements
from core.tenancy import Connection, translated

NEEDED_FROM = 45_000
"""Chunks of a generation: an exact search of fewer takes less than about 25 ms."""
LARGEST_DIMENSION = 4_000
"""Of pgvector's HNSW over half-precision vectors. Larger ones are searched exactly."""
M, EF_CONSTRUCTION = 16, 200
BUILD_MEMORY = "1GB"
"""For a build, and only while there is one. A graph that does not fit is built more slowly."""
PROGRESS_S = 2.0

Reported = Callable[[float], None]


def wanting(connection: Connection) -> dict[int, int]:
    """Generation → dimension, of those that are large and have no finished index."""
    values = {"needed_from": NEEDED_FROM, "largest": LARGEST_DIMENSION}
    return {row["generation"]: row["dimension"] for row in connection.execute(_SQL["wanting"], values)}


def unused(connection: Connection) -> list[int]:
    """The generations that have an index and are not in use any more."""
    return [row["generation"] for row in connection.execute(_SQL["unused"])]


def record(connection: Connection, generation: int, state: dict[str, Any] | None) -> None:
    """Write down an index's state: `state` ("building", "ready"), its parameters, `done` (0 to 1) and `seconds`."""
    connection.execute(_SQL["record"], {"generation": generation, "state": None if state is None else Jsonb(state)})


def build(owner_url: str, tenant: str, generation: int, dimension: int, reported: Reported = lambda _: None) -> dict[str, Any] | None:
    """Build a generation's index. Returns the state to record; None if another process builds on this tenant's chunks at the moment.

    `reported` is called with the share that is done, about every two seconds. What a build that was cut off left is dropped first.
    Raises Unavailable.
    """
    started = monotonic()
    with _owner(owner_url) as connection:
        if not _is_free(connection, tenant):
            return None
        connection.execute(_composed("drop", tenant, generation))
        try:
            with _reporting(owner_url, connection.info.backend_pid, reported):
                connection.execute(_composed("build", tenant, generation, dimension))
        except errors.DuplicateTable:
            return None
    return {"state": "ready", "m": M, "ef_construction": EF_CONSTRUCTION, "done": 1.0, "seconds": round(monotonic() - started, 1)}


def drop(owner_url: str, tenant: str, generation: int) -> bool:
    """Drop a generation's index, if it has one. Returns False if another process builds on this tenant's chunks at the moment."""
    with _owner(owner_url) as connection:
        free = _is_free(connection, tenant)
        if free:
            connection.execute(_composed("drop", tenant, generation))
    return free


def _is_free(connection: Connection, tenant: str) -> bool:
    """Whether nobody builds an index of the tenant's chunks: a build has the table locked against another one, not against writes."""
    try:
        with connection.transaction():
            connection.execute(_SQL["do_not_wait"])
            connection.execute(_composed("lock", tenant))
    except errors.LockNotAvailable:
        return False
    return True


def _composed(name: str, tenant: str, generation: int = 0, dimension: int = 0) -> sql.Composed:
    home, index = sql.Identifier(f"tenant_{tenant}"), sql.Identifier(f"hnsw_{generation}")
    numbers = {"generation": generation, "dimension": dimension, "m": M, "ef_construction": EF_CONSTRUCTION}
    return sql.SQL(_SQL[name]).format(home=home, index=index, **{key: sql.Literal(value) for key, value in numbers.items()})


@contextmanager
def _owner(url: str) -> Iterator[Connection]:
    """A session of the owner's."""
    with (
        translated(),
        psycopg.Connection[dict[str, Any]].connect(url, row_factory=dict_row, autocommit=True, **timeouts.CONNECTION) as connection,
    ):
        connection.execute(_SQL["prepare"], {"memory": BUILD_MEMORY})
        yield connection


@contextmanager
def _reporting(owner_url: str, backend: int, reported: Reported) -> Iterator[None]:
    """Report the progress of that backend's build until the block ends."""
    ended = Event()
    thread = Thread(target=_report_until, args=(ended, owner_url, backend, reported), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _report_until(ended: Event, owner_url: str, backend: int, reported: Reported) -> None:
    with _owner(owner_url) as connection:
        while not ended.wait(PROGRESS_S):
            for row in connection.execute(_SQL["progress"], {"backend": backend}):
                reported(row["done"])


_SQL = statements("index", "sql/vector_index.sql")
