"""A process at work, as Postgres sees it: a session that holds a lock under a key of its own for as long as the process lives.

So another process can tell whether the one that took a document is dead, or only slow, stopped or behind a slow line.
"""

from __future__ import annotations

import secrets
from select import POLLIN, poll
from threading import Lock
from typing import Any

import psycopg

from core.sql import statements
from core.timeouts import LINE, bound


class Worker:
    """One connection, opened when it is first asked for, and again when it was cut. Thread-safe."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._key = secrets.randbits(63)
        self._connection: psycopg.Connection | None = None
        self._opening = Lock()

    def present(self) -> int:
        """The process' key, its lock held as of now. Raises psycopg.OperationalError."""
        with self._opening:
            if self._connection is None or _was_cut(self._connection):
                self._close()
                self._connection = _holding(self._url, self._key)
        return self._key

    def close(self) -> None:
        with self._opening:
            self._close()

    def __del__(self) -> None:
        # who forgets to close a Database loses its session with it, as its pool's
        self._close()

    def _close(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None


def _holding(url: str, key: int) -> psycopg.Connection:
    connection = psycopg.connect(url, autocommit=True, application_name="headrace", **LINE)
    try:
        bound(connection)
        connection.execute(statements("core.ledger", "sql/claims.sql")["present"], {"worker": key})
    except BaseException:
        connection.close()
        raise
    return connection


def _was_cut(connection: psycopg.Connection) -> bool:
    """Nothing is ever sent to a session that only holds a lock, but its end."""
    return connection.closed or heard_from(connection)


def heard_from(connection: psycopg.Connection[Any]) -> bool:
    """Whether an idle connection has something to say, most likely that it was cut. Asks nobody: the socket knows."""
    waiting = poll()
    waiting.register(connection.pgconn.socket, POLLIN)
    return bool(waiting.poll(0))
