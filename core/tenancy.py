"""Tenants, and the only access to their rows: a transaction under the tenant's own role.

`Database` logs in as a role that owns nothing and sees nothing; `tenant(name)` assumes that tenant's role and search path for one
transaction. Nothing else in the project opens a connection for tenant data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from core import timeouts
from core.errors import DocumentError, HeadraceError, TenantError, Unavailable
from core.exclusive import SharedExclusiveLock
from core.keys import Surrogates
from core.presence import Presence, has_input, living
from core.sql import statements

Row = dict[str, Any]
Connection = psycopg.Connection[Row]


class PostgresUnavailable(Unavailable):
    """Postgres does not answer."""


class StatementCancelled(PostgresUnavailable):
    """Postgres ended a statement that took longer than it may, or that an administrator cancelled."""

    reason = "timed-out"


_NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")


def valid_tenant(name: str) -> str:
    """The name itself. Raises TenantError where it is not 1-40 of a-z, 0-9 and inner hyphens, beginning with a letter."""
    if not _NAME.fullmatch(name):
        raise TenantError(
            f"tenant name not allowed: {name[:60]!r}",
            reason="bad-tenant-name",
            remedy="Use 1-40 of a-z, 0-9 and inner hyphens, beginning with a letter.",
        )
    return name


@dataclass(frozen=True)
class Tenant:
    """A row of the control plane. `wrapped_key`, and what of `surrogates` is wrapped, open only under the master key."""

    tenant: str
    status: str
    configuration: dict[str, Any]
    wrapped_key: bytes = field(repr=False)
    surrogates: Surrogates = field(default_factory=Surrogates)


class Database:
    """Connections as one login role (`pipeline` or `reader`), lent for one transaction at a time.

    Thread-safe. Opens its first connection when it is first asked. `statement_s`: Postgres cancels a statement that takes longer, which
    raises StatementCancelled; None: as the login has it.
    """

    def __init__(
        self, url: str, role: Literal["tenant", "reader"] = "tenant", connections: int = 12, statement_s: float | None = None
    ) -> None:
        self._role = role
        self._presence = Presence(url)
        self.computing = SharedExclusiveLock()
        """Held shared by each batch that computes in this process, and exclusively by a document that may crash it."""
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            url,
            connection_class=psycopg.Connection[Row],
            kwargs={"row_factory": dict_row, "application_name": "headrace", **timeouts.CONNECTION},
            configure=partial(timeouts.apply, statement_s=statement_s),
            min_size=0,
            max_size=connections,
            timeout=10,
            reconnect_timeout=5,
            max_idle=60,
            # check before lending: a connection that a restart of Postgres has cut is replaced instead of failing its user
            check=_check,
            open=False,
        )

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._pool.close()
        self._presence.close()

    def presence(self) -> int:
        """The key by which Postgres knows that this process lives, until it ends or closes this. Raises PostgresUnavailable."""
        with translated():
            return self._presence.key()

    def living(self) -> set[int]:
        """The keys of all processes that are present, this one's too. Raises PostgresUnavailable."""
        with self.control() as connection:
            return living(connection)

    @contextmanager
    def control(self) -> Iterator[Connection]:
        """A transaction as the login role itself: it sees the list of tenants and the positions, no tenant's rows."""
        with self._transaction() as connection:
            connection.execute(statements("core", "sql/tenancy.sql")["reset_role"])
            yield connection

    @contextmanager
    def tenant(self, name: str) -> Iterator[Connection]:
        """A transaction under this tenant's role, with its own partitions first in the search path."""
        names = self._names(name)
        with self._transaction() as connection:
            _assume_role(connection, names)
            yield connection

    @contextmanager
    def snapshot(self, name: str) -> Iterator[Connection]:
        """As `tenant`, for reading alone, and all of it sees what was there at its beginning."""
        names = self._names(name)
        with self._transaction() as connection:
            connection.execute(statements("core", "sql/tenancy.sql")["read_only_snapshot"])
            _assume_role(connection, names)
            yield connection

    def _names(self, tenant: str) -> dict[str, str]:
        return {"tenant": valid_tenant(tenant), "role": f"headrace_{self._role}_{tenant}", "path": f'"tenant_{tenant}", headrace, public'}

    def tenants(self) -> list[Tenant]:
        """Every active tenant, by name."""
        with self.control() as connection:
            rows = connection.execute(statements("core", "sql/tenancy.sql")["tenants"]).fetchall()
        return [_tenant(row) for row in rows]

    def get(self, name: str) -> Tenant:
        """One active tenant. Raises TenantError if there is none of that name."""
        query, values = statements("core", "sql/tenancy.sql")["tenant"], {"tenant": valid_tenant(name)}
        with self.control() as connection:
            rows = connection.execute(query, values).fetchall()
        if not rows:
            raise TenantError(f"there is no tenant {name!r}", remedy="`headrace tenant list` shows them.")
        return _tenant(rows[0])

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """A transaction in the role that the connection's last user left: its first statement has to set the role."""
        with translated():
            self._pool.open()
            with self._pool.connection() as connection:
                yield connection


def _assume_role(connection: Connection, names: dict[str, str]) -> None:
    try:
        connection.execute(statements("core", "sql/tenancy.sql")["assume_role"], names)
    except psycopg.errors.InvalidParameterValue:
        raise TenantError(f"there is no tenant {names['tenant']!r}", remedy="`headrace tenant list` shows them.") from None


def _tenant(row: Row) -> Tenant:
    surrogates = Surrogates(row["surrogate_epoch"], row["wrapped_surrogate_key"], row["former_surrogate_key"], row["rotated_at"])
    return Tenant(row["tenant"], row["status"], row["configuration"], row["wrapped_key"], surrogates)


def _check(connection: Connection) -> None:
    """Raises where the connection was cut. A question to the server only where there is a sign of it: it would cost every transaction."""
    if has_input(connection):
        ConnectionPool.check_connection(connection)


@contextmanager
def translated() -> Iterator[None]:
    """The driver's errors become ours here. A message never carries a row: Postgres puts values into `detail`, which is dropped.

    A value that Postgres cannot keep (a NUL, a text too long) is about a document, not about the server. Its message may quote the value.
    """
    try:
        yield
    except (psycopg.DataError, psycopg.errors.ProgramLimitExceeded) as error:
        raise DocumentError(f"Postgres: {type(error).__name__}", reason="unstorable") from None
    except psycopg.errors.QueryCanceled:
        raise StatementCancelled("Postgres: QueryCanceled", remedy="Ask for less, or again.") from None
    except (psycopg.OperationalError, PoolTimeout, psycopg.errors.IdleInTransactionSessionTimeout) as error:
        raise PostgresUnavailable(f"Postgres: {type(error).__name__}", remedy="See `headrace status` and `headrace doctor`.") from error
    except psycopg.Error as error:
        primary = error.diag.message_primary or type(error).__name__
        raise HeadraceError(f"Postgres: {primary}", reason="database-error") from None
