"""How each end of a connection to Postgres notices that the other is gone, or only stands still in a transaction.

Without this a stopped process keeps its locks from everybody else for as long as it is stopped, and a host that vanished for two hours,
which is TCP's own default.
"""

from __future__ import annotations

from typing import Any, Final

import psycopg

from core.sql import statements

IDLE_S = 60
"""How long a transaction may stand open with nothing asked. What is done within one elsewhere (in the graph) takes less."""

LINE: Final[dict[str, Any]] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
"""libpq's parameters of this end: a server whose packets stop is given up within half a minute."""


def bound(connection: psycopg.Connection[Any]) -> None:
    """The same for the server's end, for the whole session."""
    connection.execute(statements("core", "sql/tenancy.sql")["bound"], {"idle": f"{IDLE_S}s"})
    if not connection.autocommit:
        connection.commit()
