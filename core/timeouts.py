"""How each end of a connection to Postgres notices that the other is gone, or stands still in a transaction.

Without these a stopped process keeps its locks for as long as it is stopped, and a host that disappeared keeps them for two hours, which
is TCP's own default.
"""

from __future__ import annotations

from typing import Any, Final

import psycopg

from core.sql import statements

IDLE_S = 60
"""Seconds that a transaction may stay idle. Writes to Neo4j inside a transaction take less."""

CONNECTION: Final[dict[str, Any]] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
"""libpq's parameters for this end: a server that stops answering is given up within half a minute."""


def apply(connection: psycopg.Connection[Any], statement_s: float | None = None) -> None:
    """Set the same timeouts at the server's end, for the whole session. `statement_s`: of each statement; None: the login's own limit."""
    values = {"idle": f"{IDLE_S}s", "statement": None if statement_s is None else f"{round(statement_s * 1000)}ms"}
    connection.execute(statements("core", "sql/tenancy.sql")["timeouts"], values)
    if not connection.autocommit:
        connection.commit()
