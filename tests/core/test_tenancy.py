"""What holds for every tenant, role and table that there is: asked of the catalogs, so that a later migration cannot slip.

And the two ways in: a tenant's name, and a pooled connection that is lent to one tenant after the other. The attacks are in test_isolation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from psycopg import errors, sql

from core.errors import HeadraceError, TenantError
from core.tenancy import Connection, Database, valid_tenant
from events.contract import topic_of
from pipelines.app import Headrace
from pipelines.governance.tenants import add, remove
from services import passwords
from services.files import layout

Superuser = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture(scope="module")
def tenants(app: Headrace) -> tuple[str, str]:
    """Two, so that the catalogs have something to say."""
    names = ("tenancy-a", "tenancy-g")
    for name in names:
        add(app, name)
    return names


@pytest.fixture(scope="module")
def superuser(app: Headrace, tenants: tuple[str, str]) -> Iterator[Superuser]:
    password = passwords.read(layout(app.settings))["postgres_superuser"].get_secret_value()
    where = app.endpoints.postgres_owner.get_secret_value().split("@")[1]
    with psycopg.connect(f"postgresql://postgres:{password}@{where}", autocommit=True) as connection:
        yield connection


@pytest.fixture
def alone(app: Headrace, tenants: tuple[str, str]) -> Iterator[Database]:
    """One connection for everybody."""
    with Database(app.endpoints.postgres_pipeline.get_secret_value(), connections=1) as database:
        yield database


# --- a connection


def who(connection: Connection) -> dict[str, Any]:
    query = """SELECT current_user::text AS role, headrace.current_tenant() AS tenant, current_setting('search_path') AS path,
               pg_backend_pid() AS connection"""
    return connection.execute(query).fetchall()[0]


ENDINGS = {"commit": "SELECT 1", "rollback": "ROLLBACK", "error": "SELECT 1 / 0"}
LEFT = ["SET ROLE {writer}", "SET SESSION ROLE {writer}", "SET search_path = {schema}, public", "SET SESSION AUTHORIZATION DEFAULT"]


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
@pytest.mark.parametrize("left", LEFT)
def test_no_role_and_no_path_leaks_into_the_next_transaction(alone: Database, tenants: tuple[str, str], left: str, ending: str) -> None:
    acme, globex = tenants
    with alone.control() as connection:
        before = who(connection)
    with suppress(HeadraceError), alone.tenant(acme) as connection:
        names = {"writer": sql.Identifier(f"headrace_tenant_{globex}"), "schema": sql.Identifier(f"tenant_{globex}")}
        connection.execute(sql.SQL(left).format(**names))
        connection.execute(ending)
    with alone.control() as connection:
        assert who(connection) == before
        assert before["role"] == "headrace_pipeline"
        with pytest.raises(errors.InsufficientPrivilege), connection.transaction():
            connection.execute("TABLE chunk")
    with alone.tenant(acme) as connection:
        expected = {"role": f"headrace_tenant_{acme}", "tenant": acme, "path": f'"tenant_{acme}", headrace, public'}
        assert who(connection) == expected | {"connection": before["connection"]}


def test_a_prepared_statement_reads_and_writes_as_whoever_runs_it(alone: Database, tenants: tuple[str, str]) -> None:
    letter = """INSERT INTO dead_letter (kafka_partition, kafka_offset, stage, reason, detail) VALUES (1, %s, '', '', '')
                RETURNING tenant, tableoid::regclass::text AS place"""
    for number, tenant in enumerate(tenants * 8):
        with alone.tenant(tenant) as connection:
            assert connection.execute(letter, (number,)).fetchall() == [{"tenant": tenant, "place": "dead_letter"}]
            rows = connection.execute("SELECT DISTINCT tenant, current_user::text AS role FROM dead_letter WHERE kafka_offset >= %s", (0,))
            assert rows.fetchall() == [{"tenant": tenant, "role": f"headrace_tenant_{tenant}"}]
    with alone.control() as connection:
        prepared = connection.execute("SELECT statement FROM pg_prepared_statements WHERE statement ~ 'dead_letter'").fetchall()
        assert len(prepared) == 2


def test_a_tenant_goes_from_all_three_servers_and_may_come_again(app: Headrace, tenant: str) -> None:
    for _ in range(2):
        add(app, tenant)
        assert app.database.get(tenant).tenant == tenant
        assert app.reader.partitions(topic_of(tenant)) != []
        remove(app, tenant)
        with pytest.raises(HeadraceError, match="unknown-topic"):
            app.reader.partitions(topic_of(tenant))
        with pytest.raises(TenantError):
            app.database.get(tenant)
        with pytest.raises(TenantError):
            remove(app, tenant)


# --- a name

ALLOWED = r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?"
NAMES = st.one_of(st.text(max_size=70), st.text("az09-_\n\"';% É", max_size=45), st.from_regex(ALLOWED, fullmatch=True))


@given(name=NAMES)
@example(name="a" * 40)
@example(name="a" * 41)
@example(name="a\n")
@example(name='a"; DROP SCHEMA headrace CASCADE; --')
def test_a_name_is_a_safe_identifier_or_refused_before_any_sql(name: str) -> None:
    if re.fullmatch(ALLOWED, name):
        assert valid_tenant(name) == name
        assert len(f"headrace_reader_{name}".encode()) <= 63
        assert sql.Identifier(f"tenant_{name}").as_string() == f'"tenant_{name}"'
        return
    # nobody listens there: had it come to a connection, it would be Unavailable
    with Database("postgresql://127.0.0.1:1/headrace") as nowhere, pytest.raises(TenantError) as caught, nowhere.tenant(name):
        pytest.fail("let in")
    assert caught.value.reason == "bad-tenant-name"


@settings(max_examples=20)
@given(names=st.lists(NAMES, min_size=20))
@example(names=["a" * 40, "a" * 41, "a\n", "a\nb", "-a", "a-", "A", "1a", "", "é"])
def test_the_database_allows_the_names_that_we_allow(superuser: Superuser, names: list[str]) -> None:
    sent = [name for name in names if "\0" not in name]
    check = superuser.execute("SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint WHERE conname = 'tenant_tenant_check'").fetchall()[
        0
    ][0]
    rows = superuser.execute(f"SELECT tenant, {check} FROM unnest(%s::text[]) AS t (tenant)", (sent,)).fetchall()
    assert rows == [(name, bool(re.fullmatch(ALLOWED, name))) for name in sent]


# --- the catalogs


def ask(superuser: Superuser, query: str) -> set[tuple[Any, ...]]:
    return set(superuser.execute(query).fetchall())


UNPROTECTED = """
SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND c.oid <> 'public.headrace_migration'::regclass AND NOT (c.relrowsecurity AND c.relforcerowsecurity)
  -- a view that reads as who asks it
  AND (c.relkind <> 'v' OR NOT coalesce(c.reloptions, '{}') @> '{security_invoker=true}')
"""
OURS = "'^\"?(headrace|tenant_)'"


def test_row_security_is_forced_on_every_table(superuser: Superuser) -> None:
    assert ask(superuser, UNPROTECTED) == set()


def test_a_table_without_row_security_would_be_noticed(superuser: Superuser) -> None:
    with superuser.transaction(force_rollback=True):
        superuser.execute("CREATE TABLE headrace.careless (tenant text) PARTITION BY LIST (tenant)")
        superuser.execute("CREATE VIEW headrace.owners_view AS SELECT * FROM headrace.document")
        assert ask(superuser, UNPROTECTED) == {("headrace.careless",), ("headrace.owners_view",)}


def test_every_tenant_has_a_partition_of_every_parent_and_nothing_else(superuser: Superuser, tenants: tuple[str, str]) -> None:
    found = """
    SELECT substr(n.nspname, 8), c.relname, p.oid::regclass::text, pg_get_expr(c.relpartbound, c.oid)
    FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind NOT IN ('i', 'I', 't')
    LEFT JOIN pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_class p ON p.oid = i.inhparent
    WHERE n.nspname ~ '^tenant_'"""
    parents = {
        name for (name,) in ask(superuser, "SELECT relname FROM pg_class WHERE relnamespace = 'headrace'::regnamespace AND relkind = 'p'")
    }
    everyone = {name for (name,) in ask(superuser, "SELECT tenant FROM headrace.tenant")}
    assert set(tenants) <= everyone
    partitions = {(t, p, f"headrace.{p}", f"FOR VALUES IN ('{t}')") for t in everyone for p in parents}
    assert ask(superuser, found) == partitions | {(t, "passage", None, None) for t in everyone}


def test_a_foreign_key_stays_within_its_tenant(superuser: Superuser) -> None:
    """One from parent to parent would go for every tenant with the first that is dropped, and lock through every tenant's partitions.

    The other is between two tables of the installation: a tenant's API keys go with its row.
    """
    keys = "SELECT conrelid::regclass::text ~ '^tenant_|^\"tenant_', r.relnamespace = p.relnamespace FROM pg_constraint"
    keys += " JOIN pg_class r ON r.oid = conrelid JOIN pg_class p ON p.oid = confrelid WHERE contype = 'f'"
    installation = " conrelid = 'headrace.api_key'::regclass AND confrelid = 'headrace.tenant'::regclass"
    assert ask(superuser, f"{keys} AND NOT ({installation})") == {(True, True)}
    assert ask(superuser, f"{keys} AND {installation}") == {(False, True)}


def test_a_partition_has_one_policy_and_only_control_tables_have_others(superuser: Superuser) -> None:
    written = "(tenant = ( SELECT headrace.current_tenant() AS current_tenant))"
    partitions = ask(superuser, "SELECT schemaname, tablename FROM pg_tables WHERE schemaname ~ '^tenant_'")
    policies = "SELECT schemaname, tablename, policyname, permissive, cmd, array_to_string(roles, ' '), qual, with_check FROM pg_policies"
    expected = {
        (schema, table, "own_tenant", "PERMISSIVE", "ALL", " ".join(f"headrace_{kind}_{schema[7:]}" for kind in kinds), "true", written)
        for schema, table in partitions
        for kinds in [("reader", "tenant")]
    }
    assert ask(superuser, f"{policies} WHERE schemaname ~ '^tenant_'") == expected
    assert ask(superuser, "SELECT tablename, policyname, cmd, roles::text FROM pg_policies WHERE schemaname !~ '^tenant_'") == {
        ("tenant", "owner_administers", "ALL", "{headrace_owner}"),
        ("tenant", "pipeline_reads", "SELECT", "{headrace_pipeline}"),
        ("tenant", "reader_reads", "SELECT", "{headrace_reader}"),
        ("stream_position", "pipeline_reads", "SELECT", "{headrace_pipeline}"),
        ("slot", "pipeline_keeps", "ALL", "{headrace_pipeline}"),
        ("audit", "pipeline_reads", "SELECT", "{headrace_pipeline}"),
        ("audit", "owner_reads", "SELECT", "{headrace_owner}"),
        ("audit", "owner_adds", "INSERT", "{headrace_owner}"),
        ("api_key", "owner_administers", "ALL", "{headrace_owner}"),
        ("api_key", "pipeline_reads", "SELECT", "{headrace_pipeline}"),
        ("master_change", "owner_administers", "ALL", "{headrace_owner}"),
        ("master_change", "pipeline_reads", "SELECT", "{headrace_pipeline}"),
    }


def test_no_role_of_ours_bypasses_row_security_or_makes_databases(superuser: Superuser) -> None:
    powers = "SELECT rolname FROM pg_roles WHERE rolname ~ '^headrace_' AND "
    assert ask(superuser, powers + "(rolsuper OR rolbypassrls OR rolcreatedb OR rolreplication)") == set()
    assert ask(superuser, powers + "rolcreaterole") == {("headrace_owner",)}
    assert ask(superuser, powers + "rolcanlogin") == {(f"headrace_{login}",) for login in ("owner", "pipeline", "reader", "dagster")}


def test_the_logins_inherit_nothing_and_take_on_tenants_roles_alone(superuser: Superuser) -> None:
    memberships = """
    SELECT pg_get_userbyid(member), substring(pg_get_userbyid(roleid) FROM '^(headrace_tenant|headrace_reader)_'),
           admin_option, inherit_option, set_option
    FROM pg_auth_members WHERE pg_get_userbyid(member) ~ '^headrace_'"""
    assert ask(superuser, memberships) == {
        ("headrace_pipeline", "headrace_tenant", False, False, True),
        ("headrace_reader", "headrace_reader", False, False, True),
        ("headrace_owner", "headrace_tenant", True, False, False),
        ("headrace_owner", "headrace_reader", True, False, False),
    }


def test_nobody_but_the_owner_owns_anything(superuser: Superuser) -> None:
    owners = "SELECT DISTINCT pg_get_userbyid(refobjid), dbid = (SELECT oid FROM pg_database WHERE datname = 'headrace') FROM pg_shdepend"
    owners += " WHERE deptype = 'o' AND pg_get_userbyid(refobjid) ~ '^headrace_' AND dbid <> 0"
    assert ask(superuser, owners) <= {("headrace_owner", True), ("headrace_dagster", False)}
    databases = "SELECT datname, pg_get_userbyid(datdba) FROM pg_database WHERE datname IN ('headrace', 'dagster')"
    assert ask(superuser, databases) == {("headrace", "headrace_owner"), ("dagster", "headrace_dagster")}


def test_every_privilege_on_a_table_is_one_that_was_meant(superuser: Superuser) -> None:
    granted = """
    SELECT CASE WHEN n.nspname = 'tenant_' || t.name THEN 'its own' ELSE n.nspname END,
           CASE WHEN t.kind IS DISTINCT FROM 'tenant' THEN c.relname END, coalesce(t.kind, g.grantee::regrole::text), g.privilege_type
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (SELECT * FROM aclexplode(c.relacl)
                        UNION SELECT a.* FROM pg_attribute, aclexplode(attacl) a WHERE attrelid = c.oid) g
    LEFT JOIN LATERAL (SELECT m[1] AS kind, m[2] AS name
                       FROM regexp_match(pg_get_userbyid(g.grantee), '^headrace_(tenant|reader)_(.+)$') m) t ON true
    WHERE g.grantee <> c.relowner AND c.relkind IN ('r', 'p', 'v', 'm') AND n.nspname ~ '^(headrace|tenant_)'"""
    assert ask(superuser, granted) == {
        *(("its own", None, "tenant", privilege) for privilege in ("SELECT", "INSERT", "UPDATE", "DELETE")),
        *(
            ("its own", table, "reader", "SELECT")
            for table in (
                "chunk",
                "chunk_source",
                "indexed",
                "generation",
                "lexical",
                "term",
                "lexicon",
                "access_list",
                "near_duplicate",
                "deduplication",
                "passage",
            )
        ),
        ("headrace", "tenant", "headrace_pipeline", "SELECT"),
        ("headrace", "tenant", "headrace_reader", "SELECT"),
        ("headrace", "stream_position", "headrace_pipeline", "SELECT"),
        ("headrace", "audit", "headrace_pipeline", "SELECT"),
        ("headrace", "master_change", "headrace_pipeline", "SELECT"),
        ("headrace", "api_key", "headrace_pipeline", "SELECT"),
        *(("headrace", "slot", "headrace_pipeline", privilege) for privilege in ("SELECT", "INSERT", "UPDATE", "DELETE")),
    }


def test_no_function_but_one_runs_as_its_owner_and_only_the_harmless_are_open_to_all(superuser: Superuser) -> None:
    ours = f"FROM pg_proc p WHERE p.pronamespace::regnamespace::text ~ {OURS}"
    # it can have nothing analyzed but the tables of the tenant whose role the session has taken
    rotation = ("surrogate_epoch", "rotate_surrogates", "forget_former_surrogates")
    names = ("configure_index", "learn_statistics", "add_audit", "own_audit", "reach_data_version", *rotation)
    fixed = {(name, "{search_path=pg_catalog}") for name in names}
    assert ask(superuser, f"SELECT proname, proconfig::text {ours} AND prosecdef") == fixed
    open_to_all = f"SELECT proname {ours} AND has_function_privilege('headrace_dagster', p.oid, 'EXECUTE')"
    # so for rotation and the data version: without a tenant's role they find no tenant
    harmless = (
        "access_digest",
        "configure_index",
        "current_tenant",
        "input_key",
        "learn_statistics",
        "narrowed",
        "own_audit",
        "part_key",
        "principal_keys",
        "reach_data_version",
        "stemmer",
        "stems",
        *rotation,
    )
    assert ask(superuser, open_to_all) == {(name,) for name in harmless}
    # parsed when it was made, or with a search path of its own, so that nobody changes what a body calls; two are the owner's alone
    own_path = {
        ("configure_index",),
        ("learn_statistics",),
        ("add_audit",),
        ("audit_stays",),
        ("rotate_surrogates",),
        ("forget_former_surrogates",),
        ("search",),
    }
    assert ask(superuser, f"SELECT proname {ours} AND prosqlbody IS NULL") == {
        *((name,) for name in ("create_tenant", "drop_tenant", "own_table", "own_policy", "own_search")),
        *own_path,
    }


def test_only_who_needs_a_database_enters_it(superuser: Superuser) -> None:
    may = "SELECT datname FROM pg_database WHERE datallowconn AND has_database_privilege('headrace_{}', datname, '{}')"
    for role, own in (("pipeline", "headrace"), ("reader", "headrace"), ("dagster", "dagster")):
        assert ask(superuser, may.format(role, "CONNECT")) == {(own,)}
    for role in ("pipeline", "reader"):
        assert ask(superuser, may.format(role, "TEMP")) | ask(superuser, may.format(role, "CREATE")) == set()
