"""Migrations and tenants, each test in a database of its own; roles are the server's, so every tenant's name is a fresh one."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from threading import Barrier
from typing import Any

import psycopg
import pytest
from psycopg import sql

import core.schema.migrate
from core.config import Endpoints, Settings
from core.errors import HeadraceError, TenantError, Unavailable
from core.schema.migrate import Migration, create_tenant, drop_tenant, migrate, migrations, pending
from core.sql import statements
from services import passwords
from services.files import layout

Row = tuple[Any, ...]
_numbers = itertools.count(1)


@pytest.fixture
def superuser_of(settings: Settings, endpoints: Endpoints) -> Callable[[str], psycopg.Connection[Row]]:
    password = passwords.read(layout(settings))["postgres_superuser"].get_secret_value()
    address = endpoints.postgres_owner.get_secret_value().split("@")[1].split("/")[0]
    return lambda database: psycopg.connect(f"postgresql://postgres:{password}@{address}/{database}", autocommit=True)


@pytest.fixture
def database(superuser_of: Callable[[str], psycopg.Connection[Row]]) -> Iterator[str]:
    """A fresh database as `services` leaves it: owned, with its extension, and no table."""
    name = f"migrate_{next(_numbers)}"
    with closing(superuser_of("postgres")) as server:
        server.execute(sql.SQL("CREATE DATABASE {} OWNER headrace_owner TEMPLATE template0").format(sql.Identifier(name)))
        with closing(superuser_of(name)) as connection:
            for statement in statements("services", "sql/bootstrap_headrace.sql").values():
                connection.execute(statement)
        yield name
        server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def url(endpoints: Endpoints, database: str) -> str:
    """The owner's."""
    return endpoints.postgres_owner.get_secret_value().rsplit("/", 1)[0] + f"/{database}"


@pytest.fixture
def ask(superuser_of: Callable[[str], psycopg.Connection[Row]], database: str) -> Iterator[Callable[..., list[Row]]]:
    """What the superuser reads in it."""
    with closing(superuser_of(database)) as connection:
        yield lambda query, *values: connection.execute(query, values).fetchall()


@pytest.fixture
def tenants(url: str) -> Iterator[Callable[[str], str]]:
    """Names tenants, and takes away what is left of them: their roles would outlive the database."""
    named: list[str] = []

    def name(pattern: str = "m{}-{}") -> str:
        named.append(pattern.format(next(_numbers), os.getpid())[:40])
        return named[-1]

    yield name
    for tenant in named:
        with suppress(TenantError):
            drop_tenant(url, tenant)


OBJECTS = """SELECT nspname::text FROM pg_namespace WHERE nspname ~ '^(headrace|tenant_)'
             UNION SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'"""
ALL = [migration.name for migration in migrations()]


def _further(number: int, text: str) -> Migration:
    return Migration(number, f"{number:04}_further.sql", text)


@pytest.fixture
def with_further(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts migrations after those that there are, or in their place."""

    def put(*more: Migration, instead: bool = False) -> None:
        found = list(more) if instead else [*migrations(), *more]
        monkeypatch.setattr(core.schema.migrate, "migrations", lambda: found)

    return put


def test_the_files_are_numbered_from_one_without_a_gap(here: Path) -> None:
    files = sorted(path.name for path in (here / "core/schema/migrations").iterdir())
    assert files == ALL
    assert [migration.number for migration in migrations()] == list(range(1, len(files) + 1))


def test_from_empty_to_newest_once(url: str) -> None:
    assert pending(url) == ALL
    assert migrate(url) == ALL
    assert pending(url) == []
    assert migrate(url) == []


def test_to_ask_what_is_pending_changes_nothing(url: str, ask: Callable[..., list[Row]]) -> None:
    assert pending(url) == ALL
    assert ask(OBJECTS) == []


def test_two_at_once_apply_each_once(url: str, ask: Callable[..., list[Row]]) -> None:
    start = Barrier(4)

    def one(_: int) -> list[str]:
        start.wait()
        return migrate(url)

    with ThreadPoolExecutor(4) as pool:
        applied = list(pool.map(one, range(4)))
    assert sorted(applied) == [[], [], [], ALL]
    assert ask("SELECT count(*) FROM public.headrace_migration") == [(len(ALL),)]


def test_a_file_that_changed_after_it_was_applied_is_refused(
    url: str, with_further: Callable[..., None], ask: Callable[..., list[Row]]
) -> None:
    migrate(url)
    first, *others = migrations()
    changed = Migration(first.number, first.name, first.text + "\n-- harmless")
    with_further(changed, *others, _further(9000, "CREATE TABLE public.late ()"), instead=True)
    for asked in (migrate, pending):
        with pytest.raises(HeadraceError, match=first.name) as caught:
            asked(url)
        assert caught.value.reason == "migration-changed"
    assert ("late",) not in ask(OBJECTS)


def test_a_migration_that_fails_leaves_nothing_not_even_those_before_it(
    url: str, with_further: Callable[..., None], ask: Callable[..., list[Row]]
) -> None:
    with_further(_further(9000, "CREATE TABLE public.half (); SELECT 1 / 0"))
    with pytest.raises(HeadraceError):
        migrate(url)
    assert ask(OBJECTS) == []
    assert pending(url) == [*ALL, "9000_further.sql"]


def test_a_migration_that_is_cut_off_leaves_nothing_and_is_done_again(
    url: str, with_further: Callable[..., None], ask: Callable[..., list[Row]]
) -> None:
    with_further(_further(9000, "CREATE TABLE public.half (); SELECT pg_terminate_backend(pg_backend_pid())"))
    with pytest.raises(Unavailable):
        migrate(url)
    assert ask(OBJECTS) == []
    with_further()
    assert migrate(url) == ALL


def test_only_what_is_new_is_applied(url: str, with_further: Callable[..., None], ask: Callable[..., list[Row]]) -> None:
    migrate(url)
    with_further(_further(9000, "CREATE TABLE public.later (share text DEFAULT '50%')"))
    assert pending(url) == ["9000_further.sql"]
    assert migrate(url) == ["9000_further.sql"]
    assert ("later",) in ask(OBJECTS)


def test_a_generation_that_is_older_than_its_models_name_has_none_and_stays(
    url: str, with_further: Callable[..., None], tenants: Callable[[], str], ask: Callable[..., list[Row]]
) -> None:
    tenant, (foundation, names, *later) = tenants(), migrations()
    with_further(foundation, instead=True)
    migrate(url)
    create_tenant(url, tenant, b"", {})
    rows = sql.SQL("{}.generation").format(sql.Identifier(f"tenant_{tenant}"))
    ask(sql.SQL("INSERT INTO {} (fingerprint, model, dimension, state) VALUES ('f', 'm', 3, 'active') RETURNING 1").format(rows))
    with_further(foundation, names, instead=True)
    assert migrate(url) == [names.name]
    found = ask(sql.SQL("SELECT model, state, model_name, model_revision FROM {}").format(rows))
    assert found == [("m", "active", None, None)]
    with_further(foundation, names, *later, instead=True)
    migrate(url)  # a tenant is dropped on the schema as it is now


ITS_TABLES = """
SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity, replace(c.relacl::text, t.tenant, ''), i.inhparent::regclass::text,
       (SELECT array_agg(concat_ws(' ', a.attname, a.atttypid::regtype, a.attnotnull,
                                   replace(pg_get_expr(d.adbin, d.adrelid), t.tenant, '')) ORDER BY a.attnum)
        FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum WHERE a.attrelid = c.oid AND a.attnum > 0
        AND NOT a.attisdropped),
       (SELECT array_agg(pg_get_expr(p.polqual, c.oid) || pg_get_expr(p.polwithcheck, c.oid)) FROM pg_policy p WHERE p.polrelid = c.oid),
       (SELECT array_agg(i.inhparent::regclass::text ORDER BY 1) FROM pg_index x JOIN pg_inherits i ON i.inhrelid = x.indexrelid
        WHERE x.indrelid = c.oid),
       (SELECT array_agg(pg_get_constraintdef(k.oid) ORDER BY k.conname) FROM pg_constraint k WHERE k.conrelid = c.oid AND contype <> 'f')
FROM (SELECT %s::text AS tenant) t JOIN pg_class c ON c.relnamespace = ('"tenant_' || t.tenant || '"')::regnamespace AND c.relkind = 'r'
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid ORDER BY 1"""


def test_a_tenant_from_before_gets_a_later_table_exactly_as_one_that_comes_after_it(
    url: str, with_further: Callable[..., None], tenants: Callable[[], str], ask: Callable[..., list[Row]]
) -> None:
    old, new, everything = tenants(), tenants(), migrations()
    with_further(everything[0], instead=True)
    migrate(url)
    create_tenant(url, old, b"", {})
    with_further(*everything, instead=True)
    migrate(url)
    create_tenant(url, new, b"", {})
    assert ask(ITS_TABLES, old) == ask(ITS_TABLES, new)
    assert "outcome" in [row[0] for row in ask(ITS_TABLES, old)]


@pytest.mark.parametrize(
    "pattern", ["m{}-{}", "m{}--{}", "m{}{}", "m{}-{}-" + "z" * 40, "select"], ids=["plain", "hyphens", "digits", "40", "keyword"]
)
def test_a_tenant_comes_and_goes_and_leaves_nothing(
    url: str, ask: Callable[..., list[Row]], tenants: Callable[[str], str], pattern: str
) -> None:
    tenant = tenants(pattern)
    migrate(url)
    before = _traces(ask, tenant)
    for _ in range(2):
        create_tenant(url, tenant, b"wrapped", {"canary": "x"})
        assert ask("SELECT tenant, status, configuration, wrapped_key FROM headrace.tenant") == [
            (tenant, "active", {"canary": "x"}, b"wrapped")
        ]
        assert _traces(ask, tenant) != before
        drop_tenant(url, tenant)
        assert _traces(ask, tenant) == before


def _traces(ask: Callable[..., list[Row]], tenant: str) -> list[Row]:
    """Everything in the catalogs that could be a tenant's."""
    return [
        *ask("SELECT rolname FROM pg_roles WHERE rolname IN (%s, %s)", f"headrace_tenant_{tenant}", f"headrace_reader_{tenant}"),
        *ask("SELECT nspname FROM pg_namespace WHERE nspname = %s", f"tenant_{tenant}"),
        *ask("SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p', 'i', 'I', 'S') AND NOT relisshared"),
        *ask("SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE contype <> 'n' AND conrelid <> 0 ORDER BY 1, 2"),
        *ask("SELECT count(*) FROM headrace.tenant"),
        *ask("SELECT count(*) FROM pg_trigger"),
        *ask("SELECT count(*) FROM pg_default_acl"),
    ]


def test_a_tenant_that_is_there_is_not_made_again(url: str, tenants: Callable[[], str], ask: Callable[..., list[Row]]) -> None:
    tenant = tenants()
    migrate(url)
    create_tenant(url, tenant, b"first", {})
    with pytest.raises(TenantError) as caught:
        create_tenant(url, tenant, b"second", {})
    assert caught.value.reason == "tenant-exists"
    assert ask("SELECT wrapped_key FROM headrace.tenant") == [(b"first",)]


def test_of_two_who_make_the_same_tenant_one_is_told_that_it_exists(url: str, tenants: Callable[[], str]) -> None:
    tenant, start = tenants(), Barrier(2)
    migrate(url)

    def one(_: int) -> str:
        start.wait()
        try:
            create_tenant(url, tenant, b"", {})
        except TenantError as error:
            return error.reason
        return "made"

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(one, range(2))) == ["made", "tenant-exists"]


def test_a_tenant_made_during_a_migration_gets_the_table_that_it_adds(
    url: str, tenants: Callable[[], str], ask: Callable[..., list[Row]]
) -> None:
    tenant = tenants()
    migrate(url)
    with core.schema.migrate.owner(url) as connection, ThreadPoolExecutor(1) as pool:
        connection.execute(statements("core.schema", "sql/migrate.sql")["lock"])
        connection.execute("CREATE TABLE headrace.added (tenant text NOT NULL) PARTITION BY LIST (tenant)")
        making = pool.submit(create_tenant, url, tenant, b"", {})
        _wait_until(lambda: ask("SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'") != [])
        connection.commit()
        making.result()
    assert ask("SELECT tablename FROM pg_tables WHERE schemaname = %s AND tablename = 'added'", f"tenant_{tenant}") == [("added",)]


def _wait_until(true: Callable[[], bool]) -> None:
    for _ in range(100_000):
        if true():
            return
    pytest.fail("it never came")


def test_a_tenant_comes_while_others_write_and_read(
    url: str, tenants: Callable[[], str], superuser_of: Callable[[str], psycopg.Connection[Row]], database: str
) -> None:
    tenant = tenants()
    migrate(url)
    with closing(superuser_of(database)) as busy, busy.transaction():
        # what a writer's first statement takes on the parents, all at once
        for (parent,) in busy.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'p' AND relnamespace = 'headrace'::regnamespace"
        ):
            busy.execute(f"LOCK TABLE {parent} IN ROW EXCLUSIVE MODE")
        create_tenant(f"{url}?options=-c%20lock_timeout%3D2s", tenant, b"", {})


def test_a_tenant_that_never_was_cannot_go(url: str) -> None:
    migrate(url)
    with pytest.raises(TenantError) as caught:
        drop_tenant(url, "nobody")
    assert caught.value.reason == "unknown-tenant"


def test_one_tenant_goes_and_the_others_keep_rows_and_foreign_keys(
    url: str, tenants: Callable[[], str], ask: Callable[..., list[Row]]
) -> None:
    stays, goes = tenants(), tenants()
    migrate(url)
    for tenant in (stays, goes):
        create_tenant(url, tenant, b"", {})
    keys = "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND connamespace = (SELECT oid FROM pg_namespace WHERE nspname = %s)"
    before = ask(keys, f"tenant_{stays}")
    drop_tenant(url, goes)
    assert ask(keys, f"tenant_{stays}") == before
    assert before != [(0,)]
    assert ask("SELECT tenant FROM headrace.tenant") == [(stays,)]


def test_a_tenant_goes_whatever_its_roles_were_given_or_set(
    url: str,
    tenants: Callable[[], str],
    ask: Callable[..., list[Row]],
    superuser_of: Callable[[str], psycopg.Connection[Row]],
    database: str,
) -> None:
    """A customer's login that was given its reader's role, default privileges, a grant of the operator's."""
    tenant = tenants()
    migrate(url)
    create_tenant(url, tenant, b"", {})
    names = {"reader": sql.Identifier(f"headrace_reader_{tenant}"), "writer": sql.Identifier(f"headrace_tenant_{tenant}")}
    left = """CREATE ROLE customer_of_test_migrate LOGIN IN ROLE {reader}; GRANT SELECT ON headrace.tenant TO {reader};
              ALTER ROLE customer_of_test_migrate SET role = {reader}; ALTER ROLE {writer} SET work_mem = '8MB'"""
    with closing(superuser_of(database)) as superuser:
        superuser.execute(sql.SQL(left).format(**names))
        superuser.execute(sql.SQL("SET ROLE {writer}; ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC").format(**names))
        try:
            drop_tenant(url, tenant)
        finally:
            superuser.execute("RESET ROLE; DROP ROLE customer_of_test_migrate")
    assert ask("SELECT FROM pg_roles WHERE rolname ~ %s", f"_{tenant}$") == []


@pytest.mark.parametrize("name", ["", "A", "1a", "a_b", 'a"b', "a" * 41, "a\n", "tenant;", "é"])
def test_a_bad_name_is_refused_before_anything_is_asked(name: str) -> None:
    nowhere = "postgresql://127.0.0.1:1/headrace"
    refusing: tuple[Callable[[], None], ...] = (lambda: create_tenant(nowhere, name, b"", {}), lambda: drop_tenant(nowhere, name))
    for refuse in refusing:
        with pytest.raises(TenantError) as caught:
            refuse()
        assert caught.value.reason == "bad-tenant-name"
