"""Migrations, and the partitions, roles and key of tenants: everything that needs the owner role. Nothing else logs in as the owner.

Migrations are numbered SQL files. Each is applied once, in order, under one advisory lock; a file that changed after it was applied is
refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from core.errors import HeadraceError, TenantError
from core.sql import statements
from core.tenancy import Connection, translated, valid_tenant


@dataclass(frozen=True)
class Migration:
    number: int
    name: str
    text: LiteralString

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrations() -> list[Migration]:
    """The files of `migrations`, in number order."""
    found = [path for path in files("core.schema").joinpath("migrations").iterdir() if path.name.endswith(".sql")]
    # a file of this package is as literal as a string in its source
    parsed = [Migration(int(path.name[:4]), path.name, path.read_text(encoding="utf-8")) for path in found]
    return sorted(parsed, key=lambda migration: migration.number)


def migrate(owner_url: str) -> list[str]:
    """Apply pending migrations. Returns their names. Safe to run concurrently and to repeat."""
    with owner(owner_url) as connection:
        connection.execute(_SQL["lock"])
        connection.execute(_SQL["prepare"])
        applied = _applied(connection)
        _refuse_changed(applied)
        pending = [migration for migration in migrations() if migration.number not in applied]
        for migration in pending:
            connection.execute(migration.text)
            connection.execute(_SQL["note"], {"number": migration.number, "name": migration.name, "digest": migration.digest})
    return [migration.name for migration in pending]


def pending(owner_url: str) -> list[str]:
    """The names of pending migrations. Changes nothing, takes no lock, and raises what `migrate` would raise."""
    with owner(owner_url) as connection:
        begun = connection.execute(_SQL["begun"]).fetchall()[0]["found"]
        applied = _applied(connection) if begun else {}
    _refuse_changed(applied)
    return [migration.name for migration in migrations() if migration.number not in applied]


def create_tenant(
    owner_url: str, tenant: str, wrapped_key: bytes, configuration: Mapping[str, Any], check: Callable[[Connection], None] = lambda _: None
) -> None:
    """Create a tenant's roles, schema and partitions. Raises TenantError if the name is not allowed or taken.

    `check` is called while no key can be rewrapped: it refuses a key that was wrapped under a former master key.
    """
    values = {"tenant": valid_tenant(tenant), "wrapped_key": wrapped_key, "configuration": Jsonb(dict(configuration))}
    with owner(owner_url) as connection:
        connection.execute(_SQL["lock"])
        check(connection)
        if connection.execute(_SQL["tenant_exists"], values).fetchall()[0]["found"]:
            raise TenantError(f"tenant {tenant!r} exists already", reason="tenant-exists")
        connection.execute(_SQL["create_tenant"], values)


def configure_tenant(owner_url: str, tenant: str, changes: Mapping[str, Any]) -> None:
    """Change these keys of a tenant's configuration. Raises TenantError if there is no such tenant."""
    with owner(owner_url) as connection:
        if connection.execute(_SQL["configure_tenant"], {"tenant": valid_tenant(tenant), "changes": Jsonb(dict(changes))}).rowcount != 1:
            raise _unknown(tenant)


def reconfigure_tenant(owner_url: str, tenant: str, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    """Replace the configuration by what `change` returns for it, under a row lock. Raises as `configure_tenant` does."""
    with owner(owner_url) as connection:
        rows = connection.execute(_SQL["configuration"], {"tenant": valid_tenant(tenant)}).fetchall()
        if not rows:
            raise _unknown(tenant)
        connection.execute(_SQL["configure_tenant"], {"tenant": tenant, "changes": Jsonb(dict(change(rows[0]["configuration"])))})


def drop_tenant(owner_url: str, tenant: str, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Drop everything of a tenant in Postgres, its key first. Raises TenantError if there is no such tenant.

    `meanwhile` is called while no process works for the tenant and none can begin: it deletes the tenant's data elsewhere.
    """
    values = {"tenant": valid_tenant(tenant)}
    with owner(owner_url) as connection:
        connection.execute(_SQL["lock"])
        if not connection.execute(_SQL["tenant_exists"], values).fetchall()[0]["found"]:
            raise _unknown(tenant)
        connection.execute(_SQL["tenant_schema"], {"schema": f'"tenant_{tenant}"'})
        connection.execute(_SQL["lock_out"])
        meanwhile()
        connection.execute(_SQL["drop_tenant"], values)


def _unknown(tenant: str) -> TenantError:
    return TenantError(f"there is no tenant {tenant!r}", remedy="`headrace tenant list` shows them.")


@contextmanager
def owner(url: str) -> Iterator[Connection]:
    """One transaction as the owner role."""
    with translated(), psycopg.Connection[dict[str, Any]].connect(url, row_factory=dict_row, connect_timeout=5) as connection:
        yield connection


@contextmanager
def locked_owner(url: str) -> Iterator[Connection]:
    """As `owner`, while no tenant is added or removed and no migration runs."""
    with owner(url) as connection:
        connection.execute(_SQL["lock"])
        yield connection


def _applied(connection: Connection) -> dict[int, dict[str, Any]]:
    return {row["number"]: row for row in connection.execute(_SQL["applied"])}


def _refuse_changed(applied: Mapping[int, Mapping[str, Any]]) -> None:
    for migration in migrations():
        row = applied.get(migration.number)
        if row and row["digest"] != migration.digest:
            raise HeadraceError(
                f"migration {migration.name} was changed after it was applied",
                reason="migration-changed",
                remedy="Restore the file; write a new migration for the change.",
            )


_SQL = statements("core.schema", "sql/migrate.sql")
