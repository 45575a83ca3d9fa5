"""A process's presence in Postgres: a session that holds an advisory lock under the process's own key for as long as the process lives.

By it another process can tell a dead claimant from one that is slow, stopped, or behind a slow network.
"""

from __future__ import annotations

import secrets
from select import POLLIN, poll
from threading import Lock
from typing import Any

import psycopg

from core import timeouts
from core.sql import statements


class Presence:
    """One connection, opened on first use and reopened when it was cut. Thread-safe."""

    _connection: psycopg.Connection | None = None  # of the class: Ctrl-C may interrupt what makes one, and then it is deleted

    def __init__(self, url: str) -> None:
        self._url = url
        self._key = secrets.randbits(63)
        self._opening = Lock()

    def key(self) -> int:
        """The process's key, its lock held as of now. Raises psycopg.OperationalError."""
        with self._opening:
            if self._connection is None or _was_cut(self._connection):
                self._close()
                self._connection = _locked(self._url, self._key)
        return self._key

    def close(self) -> None:
        with self._opening:
            self._close()

    def __del__(self) -> None:
        # the session of a Database that was never closed ends with its pool
        self._close()

    def _close(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None


def living(connection: psycopg.Connection[dict[str, Any]]) -> set[int]:
    """The keys of all processes that are present."""
    return {row["process"] for row in connection.execute(statements("core", "sql/tenancy.sql")["living"])}


def _locked(url: str, key: int) -> psycopg.Connection:
    connection = psycopg.connect(url, autocommit=True, application_name="headrace", **timeouts.CONNECTION)
    try:
        timeouts.apply(connection)
        connection.execute(statements("core", "sql/tenancy.sql")["present"], {"process": key})
    except BaseException:
        connection.close()
        raise
    return connection


def _was_cut(connection: psycopg.Connection) -> bool:
    """Whether the server has ended the session: it sends nothing else to a session that only holds a lock."""
    return connection.closed or has_input(connection)


def has_input(connection: psycopg.Connection[Any]) -> bool:
    """Whether an idle connection has something to read, most likely that it was cut. Reads the socket's state; sends nothing."""
    waiting = poll()
    waiting.register(connection.pgconn.socket, POLLIN)
    return bool(waiting.poll(0))
