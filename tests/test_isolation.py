"""A tenant attacks another one: with its pipeline's role, its reader's role, the bare logins, and a customer's own login.

Both tenants hold a row in every table, and Postgres itself has to refuse. What its catalogs say of roles and tables is in test_tenancy.
"""

from __future__ import annotations

import itertools
import os
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql
from psycopg.rows import dict_row

from core.errors import HeadraceError
from core.tenancy import Connection
from pipelines.app import Headrace
from pipelines.governance.tenants import add
from services import passwords
from services.files import layout

SECRET = "Ottilie Vanderbeek"
"""What the victim's rows say, and no attacker may ever read."""

READABLE = {
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
}

ROWS = {
    "stream_position": "(topic, kafka_partition, next_offset) VALUES ('documents.x', 0, 7)",
    "event": "(kafka_partition, kafka_offset, document, fate, received_at) VALUES (0, 0, repeat('d', 32), 'landed', now())",
    "document": """(document, revision, sequence, sequence_explicit, deleted, source_key, state_key, content_key, envelope_key, acl_key,
        envelope, acl, kafka_partition, kafka_offset, received_at)
        VALUES (repeat('d', 32), 1, 1, true, false, %(text)s::text, 's', 'c', 'e', 'a', convert_to(%(text)s::text, 'UTF8'),
        ARRAY[%(text)s::text], 0, 0, now())""",
    "stage_record": """(document, stage, input_key, fingerprint, output_key, status, detail)
        VALUES (repeat('d', 32), 'parse', 'i', 'f', 'o', 'done', %(text)s::text)""",
    "claim": "(document, stage, process, batch_size, crashes, solo_attempts) VALUES (repeat('d', 32), %(text)s::text, 1, 1, 0, 0)",
    "artifact": "(document, stage, key, payload) VALUES (repeat('d', 32), 'parse', 'k', convert_to(%(text)s::text, 'UTF8'))",
    "generation": "(generation, fingerprint, model, dimension, state) VALUES (1, 'f', %(text)s::text, 3, 'active')",
    "embedding": "(model, text_hash, embedding) VALUES ('m', %(tenant)s::text, '[1,2,3]')",
    "access_list": "(number, digest, principals) VALUES (1, %(tenant)s::text, ARRAY[%(text)s::text])",
    "chunk": """(generation, text_hash, text, heading_path, token_count, embedding)
        VALUES (1, %(tenant)s::text, %(text)s::text, '{}', 3, '[1,2,3]')""",
    "chunk_source": """(generation, text_hash, document, ordinal) VALUES (1, %(tenant)s::text, repeat('d', 32), 0)""",
    "indexed": """(generation, document, name, title, uri, access, sequence)
        VALUES (1, repeat('d', 32), %(text)s::text, %(text)s::text, '', 1, 1)""",
    "lexical": """(generation, text_hash, language, length, pivot, terms, impacts)
        VALUES (1, %(tenant)s::text, '', 1, 1, array_to_tsvector(ARRAY[%(text)s::text]), '{1:1}/1000000000')""",
    "term": "(generation, term, number, passages, bound) VALUES (1, %(text)s::text, 1, 1, 1)",
    "lexicon": "(generation, passages, words, pivot) VALUES (1, jsonb_build_object(%(text)s::text, 1), 1, 1)",
    "signature": "(generation, text_hash, bands) VALUES (1, %(tenant)s::text, '{1}')",
    "hot_band": "(generation, band, passages, heads) VALUES (1, 1, 1, ARRAY[%(text)s::text])",
    "near_duplicate": "(generation, text_hash, neighbour, similarity) VALUES (1, %(tenant)s::text, %(text)s::text, 1)",
    "deduplication": "(generation, scheme, threshold, boilerplate) VALUES (1, %(text)s::text, 0.7, 'mark')",
    "reindex": """(settings, fingerprint, state) VALUES (jsonb_build_object('embedding', %(text)s::text), 'f', 'ended')""",
    "canary_query": "(query, judgements, keyed) VALUES (%(text)s::text, '{}', false)",
    "dead_letter": "(kafka_partition, kafka_offset, stage, reason, detail) VALUES (0, 0, 'parse', 'r', %(text)s::text)",
    "outcome": "(kafka_partition, kafka_offset, subject, received_at) VALUES (0, 0, convert_to(%(text)s::text, 'UTF8'), now())",
}


@dataclass(frozen=True)
class Pair:
    """`acme` attacks `globex`. `customer_url` logs in as a role of a customer's own that was given acme's reader role."""

    app: Headrace
    acme: str
    globex: str
    customer_url: str
    superuser_url: str

    def sql(self, statement: str) -> sql.Composed:
        names = {"ours": f"tenant_{self.acme}", "theirs": f"tenant_{self.globex}", "our_reader": f"headrace_reader_{self.acme}"}
        names |= {"their_reader": f"headrace_reader_{self.globex}", "their_writer": f"headrace_tenant_{self.globex}"}
        names["customer"] = str(psycopg.conninfo.conninfo_to_dict(self.customer_url)["user"])
        literals = {"them": self.globex, "us": self.acme, "their_chunk": f'"tenant_{self.globex}".chunk', "secret": SECRET}
        parts = {k: sql.Identifier(v) for k, v in names.items()} | {k: sql.Literal(v) for k, v in literals.items()}
        return sql.SQL(statement).format(**parts)

    def superuser(self) -> Connection:
        return psycopg.Connection[dict[str, Any]].connect(self.superuser_url, row_factory=dict_row, autocommit=True)


@pytest.fixture(scope="module")
def pair(app: Headrace) -> Iterator[Pair]:
    secret = passwords.read(layout(app.settings))["postgres_superuser"].get_secret_value()
    where = app.endpoints.postgres_owner.get_secret_value().split("@")[1]
    name, password = f"customer_{os.getpid()}", passwords.generate()
    pair = Pair(
        app,
        f"iso-a-{os.getpid()}",
        f"iso-g-{os.getpid()}",
        f"postgresql://{name}:{password}@{where}",
        f"postgresql://postgres:{secret}@{where}",
    )
    for tenant, text in ((pair.acme, "nothing of note"), (pair.globex, SECRET)):
        add(app, tenant)
        insert_rows(app, tenant, text)
    with pair.superuser() as superuser:
        superuser.execute(pair.sql(_customer(name, password)))
        superuser.execute("ANALYZE")
        yield pair
        superuser.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def insert_rows(app: Headrace, tenant: str, text: str) -> None:
    with app.database.tenant(tenant) as connection:
        for table, values in ROWS.items():
            connection.execute(f"INSERT INTO {table} {values}", {"tenant": tenant, "text": text})


def _customer(name: str, password: str) -> str:
    return f"""CREATE ROLE {name} LOGIN PASSWORD '{password}'; GRANT CONNECT ON DATABASE headrace TO {name};
        GRANT {{our_reader}} TO {name}; ALTER ROLE {name} SET role = {{our_reader}};
        ALTER ROLE {name} SET search_path = {{ours}}, headrace, public"""


@contextmanager
def customer(pair: Pair) -> Iterator[Connection]:
    with psycopg.Connection[dict[str, Any]].connect(pair.customer_url, row_factory=dict_row) as connection:
        yield connection


@contextmanager
def customer_without_role(pair: Pair) -> Iterator[Connection]:
    with customer(pair) as connection:
        connection.execute("SET ROLE NONE")
        yield connection


Attacker = Callable[[Pair], AbstractContextManager[Connection]]
UNDER_A_ROLE: dict[str, Attacker] = {
    "pipeline as acme": lambda pair: pair.app.database.tenant(pair.acme),
    "reader as acme": lambda pair: pair.app.readers.tenant(pair.acme),
    "customer": customer,
}
ATTACKERS: dict[str, Attacker] = UNDER_A_ROLE | {
    "pipeline's login": lambda pair: pair.app.database.control(),
    "reader's login": lambda pair: pair.app.readers.control(),
    "customer without role": customer_without_role,
}
every_attacker = pytest.mark.parametrize("attacker", ATTACKERS.values(), ids=ATTACKERS)
under_a_role = pytest.mark.parametrize("attacker", UNDER_A_ROLE.values(), ids=UNDER_A_ROLE)

ATTACKS = [
    # another tenant's partition, by name
    "SELECT * FROM {theirs}.chunk",
    "SELECT count(*) FROM {theirs}.chunk",
    "INSERT INTO {theirs}.dead_letter (kafka_partition, kafka_offset, stage, reason, detail) VALUES (9, 9, 's', 'r', 'd')",
    "INSERT INTO {theirs}.chunk SELECT * FROM {theirs}.chunk ON CONFLICT DO NOTHING",
    "UPDATE {theirs}.chunk SET text = ''",
    "DELETE FROM {theirs}.chunk",
    "MERGE INTO {theirs}.chunk c USING (VALUES (1)) v (x) ON true WHEN MATCHED THEN DELETE",
    "TRUNCATE {theirs}.dead_letter",
    "LOCK TABLE {theirs}.chunk IN ACCESS SHARE MODE",
    "COPY {theirs}.chunk TO STDOUT",
    "COPY {theirs}.dead_letter FROM STDIN",
    "COPY (SELECT * FROM {theirs}.chunk) TO STDOUT",
    "EXPLAIN SELECT * FROM {theirs}.chunk WHERE text > 'O'",
    "ANALYZE {theirs}.chunk",
    "SELECT {their_chunk}::regclass",
    "SELECT pg_get_partition_constraintdef({their_chunk}::regclass)",
    "DO $$ BEGIN PERFORM FROM {theirs}.chunk; END $$",
    # the parents
    "SELECT * FROM headrace.chunk",
    "INSERT INTO headrace.dead_letter VALUES ({them}, 9, 9, 's', NULL, 'r', 'd')",
    "UPDATE headrace.document SET deleted = true WHERE tenant = {them}",
    "DELETE FROM headrace.tenant",
    "INSERT INTO headrace.tenant (tenant, wrapped_key) VALUES ('new', '')",
    "UPDATE headrace.tenant SET wrapped_key = '' WHERE tenant = {them}",
    "UPDATE headrace.stream_position SET next_offset = 0",
    "UPDATE headrace.audit SET entry = '{{}}'",
    "DELETE FROM headrace.audit",
    "TRUNCATE headrace.audit",
    "INSERT INTO headrace.api_key (key, digest, tenant, principals, rate, expires_at) VALUES ('a', '', {them}, '{{}}', 1, now())",
    "UPDATE headrace.api_key SET principals = '{{*}}', revoked_at = NULL",
    "DELETE FROM headrace.api_key",
    "INSERT INTO headrace.audit (number, entry, hash, seal) VALUES (1, '{{}}', '', '')",
    "DROP TRIGGER stays ON headrace.audit",
    "TRUNCATE headrace.chunk_source",
    "LOCK TABLE headrace.chunk IN ACCESS SHARE MODE",
    "COPY headrace.chunk TO STDOUT",
    "EXPLAIN SELECT * FROM headrace.document",
    "SELECT * FROM public.headrace_migration",
    # the protection itself
    "ALTER TABLE {theirs}.chunk DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE {ours}.chunk NO FORCE ROW LEVEL SECURITY",
    "ALTER TABLE {ours}.chunk OWNER TO CURRENT_USER",
    "CREATE POLICY open ON {ours}.chunk USING (true)",
    "DROP POLICY own_tenant ON {ours}.chunk",
    "ALTER TABLE headrace.chunk DETACH PARTITION {theirs}.chunk",
    "ALTER FUNCTION headrace.current_tenant OWNER TO CURRENT_USER",
    "CREATE OR REPLACE FUNCTION headrace.current_tenant() RETURNS text LANGUAGE sql STABLE RETURN {them}::text",
    "CALL headrace.drop_tenant({them})",
    "CALL headrace.create_tenant('evil', '', '{{}}')",
    "SET LOCAL session_replication_role = replica",
    # something to put in another's way, or to take away
    "CREATE TABLE public.chunk (text text)",
    "CREATE TABLE {ours}.mine (text text)",
    "CREATE TABLE headrace.mine (text text)",
    "CREATE TEMP TABLE chunk (text text)",
    "CREATE VIEW pg_temp.chunk AS SELECT 1",
    "CREATE SCHEMA mine",
    "CREATE FUNCTION public.lower(text) RETURNS text LANGUAGE sql RETURN $1",
    "CREATE FUNCTION {ours}.current_tenant() RETURNS text LANGUAGE sql RETURN 'x'::text",
    "CREATE FUNCTION pg_temp.current_tenant() RETURNS text LANGUAGE sql RETURN 'x'::text",
    "CREATE OPERATOR public.= (FUNCTION = texteq, LEFTARG = text, RIGHTARG = text)",
    "CREATE TRIGGER spy BEFORE INSERT ON {ours}.chunk FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "SELECT lo_create(0)",
    "SELECT lo_creat(-1)",
    "SELECT lo_from_bytea(0, 'x')",
    "SELECT * FROM pg_largeobject",
    "SELECT setval('headrace.generation_number', 1)",
    "SELECT last_value FROM headrace.generation_number",
    # the server
    "SELECT pg_read_file('/etc/hostname')",
    "SELECT pg_ls_dir('.')",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY (SELECT 1) TO '/tmp/headrace-stolen'",
    "SELECT lo_import('/etc/hostname')",
    "SELECT * FROM pg_statistic",
    "SELECT * FROM pg_authid",
    "SELECT * FROM pg_hba_file_rules",
    "SELECT pg_stat_reset()",
    # other roles
    "SET LOCAL ROLE headrace_owner",
    "SET LOCAL ROLE headrace_dagster",
    "SET SESSION AUTHORIZATION headrace_owner",
    "SET SESSION AUTHORIZATION {their_reader}",
    "CREATE ROLE mine LOGIN",
    "ALTER ROLE {their_reader} LOGIN PASSWORD 'x'",
    "ALTER ROLE {their_writer} SET search_path = public",
    "GRANT {their_reader} TO CURRENT_USER",
    "DROP ROLE {their_reader}",
    "DROP OWNED BY {their_writer}",
    "REASSIGN OWNED BY headrace_owner TO CURRENT_USER",
]


def run(connection: Connection, statement: sql.Composed) -> list[Any]:
    """What a statement gives; a COPY's lines."""
    text = statement.as_string(connection)
    with connection.cursor() as cursor:
        if not re.search("STDOUT|STDIN", text):
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
        with cursor.copy(statement) as copy:
            return [bytes(line) for line in copy] if "STDOUT" in text else []


def refused(connection: Connection, statement: sql.Composed, *how: type[psycopg.Error]) -> psycopg.Error:
    with pytest.raises(how or errors.InsufficientPrivilege) as caught, connection.transaction():
        run(connection, statement)
    assert SECRET not in str(caught.value)
    return caught.value


def outcome(connection: Connection, statement: sql.Composed) -> str:
    try:
        with connection.transaction():
            run(connection, statement)
    except psycopg.Error as error:
        return type(error).__name__ if SECRET not in str(error) else "shown"
    return "let in"


@every_attacker
def test_what_no_tenant_needs_is_refused(pair: Pair, attacker: Attacker) -> None:
    with attacker(pair) as connection:
        outcomes = {attack: outcome(connection, pair.sql(attack)) for attack in ATTACKS}
    assert outcomes == dict.fromkeys(ATTACKS, "InsufficientPrivilege")


@every_attacker
def test_no_row_of_another_tenant_is_read_whatever_the_search_path_says(pair: Pair, attacker: Attacker) -> None:
    assert set(ROWS) == _tables(pair), "insert a row into every table"
    with attacker(pair) as connection:
        for path, table in itertools.product(('"tenant_{}"', '"tenant_{}", headrace', "headrace", 'pg_temp, "tenant_{}"'), ROWS):
            connection.execute("SELECT set_config('search_path', %s, true)", (path.format(pair.globex),))
            if (table, "headrace" in path) == ("stream_position", True) and connection.info.user == "headrace_pipeline":
                continue  # positions over all tenants are what the pipeline's login is for, and they hold no document
            refused(connection, pair.sql("TABLE " + table), errors.InsufficientPrivilege, errors.UndefinedTable)


def _tables(pair: Pair) -> set[str]:
    with pair.superuser() as superuser:
        rows = superuser.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", (f"tenant_{pair.globex}",))
        return {row["tablename"] for row in rows}


@pytest.mark.parametrize("login", ["pipeline's login", "reader's login"])
def test_a_bare_login_sees_tenants_positions_slots_and_the_audit_log_and_no_documents(pair: Pair, login: str) -> None:
    with ATTACKERS[login](pair) as connection:
        assert {pair.acme, pair.globex} <= {row["tenant"] for row in connection.execute("SELECT tenant FROM headrace.tenant")}
        rows = connection.execute("SELECT table_name FROM information_schema.tables WHERE table_schema ~ '^(headrace|tenant_|public)'")
        pipelines_own = {"stream_position", "slot", "audit", "master_change", "api_key"} if "pipeline" in login else set()
        assert {row["table_name"] for row in rows} == {"tenant"} | pipelines_own


@under_a_role
def test_no_role_of_a_tenant_sees_an_api_key(pair: Pair, attacker: Attacker) -> None:
    with attacker(pair) as connection:
        refused(connection, pair.sql("SELECT count(*) FROM headrace.api_key"))


def test_a_reader_sees_no_wrapped_key(pair: Pair) -> None:
    with pair.app.readers.control() as connection:
        refused(connection, pair.sql("SELECT wrapped_key FROM headrace.tenant"))


WRITES = [
    "DELETE FROM {}",
    "UPDATE {} SET tenant = tenant",
    "INSERT INTO {} DEFAULT VALUES",
    "TRUNCATE {}",
    "COPY {} FROM STDIN",
    "LOCK TABLE {} IN ROW EXCLUSIVE MODE",
]


@pytest.mark.parametrize("attacker", [UNDER_A_ROLE["reader as acme"], customer], ids=["reader", "customer"])
def test_a_reader_reads_the_index_and_writes_nothing(pair: Pair, attacker: Attacker) -> None:
    with attacker(pair) as connection:
        for table in ROWS:
            assert outcome(connection, pair.sql("TABLE " + table)) == ("let in" if table in READABLE else "InsufficientPrivilege")
            assert {outcome(connection, pair.sql(write.format(table))) for write in WRITES} == {"InsufficientPrivilege"}


@under_a_role
def test_the_information_schema_shows_ones_own_tables_alone(pair: Pair, attacker: Attacker) -> None:
    with attacker(pair) as connection:
        for view in ("tables", "columns", "column_privileges"):
            query = f"SELECT DISTINCT table_schema FROM information_schema.{view} WHERE table_schema ~ '^(headrace|tenant_)'"
            assert connection.execute(query).fetchall() == [{"table_schema": f"tenant_{pair.acme}"}]


def test_a_row_in_another_tenants_name_is_refused_in_ones_own_partitions(pair: Pair) -> None:
    with pair.app.database.tenant(pair.acme) as connection:
        for table, values in ROWS.items():
            columns, row = values.replace("(", "(tenant, ", 1).split("VALUES (")
            forged = f"INSERT INTO {table} {columns} VALUES (%(other)s, {row}"
            with pytest.raises((errors.InsufficientPrivilege, errors.CheckViolation)), connection.transaction():
                connection.execute(forged, {"other": pair.globex, "tenant": "x", "text": "x"})
            refused(connection, pair.sql(f"UPDATE {table} SET tenant = {{them}}"), errors.InsufficientPrivilege, errors.CheckViolation)


@pytest.mark.parametrize(
    "trick",
    [
        "SELECT set_config('headrace.tenant', {them}, true)",
        "SELECT set_config('search_path', 'pg_temp, public, headrace, pg_catalog', true)",
        "SET LOCAL search_path = {theirs}, pg_catalog",
        "SET LOCAL row_security = off",
        "SET LOCAL application_name = {their_reader}",
        "SET LOCAL SESSION AUTHORIZATION DEFAULT",
        "RESET ROLE",
        "RESET ALL",
    ],
)
def test_no_setting_makes_a_customer_somebody_else(pair: Pair, trick: str) -> None:
    with customer(pair) as connection:
        connection.execute(pair.sql(trick))
        who = connection.execute("SELECT headrace.current_tenant() AS tenant").fetchone()
        assert who in ({"tenant": pair.acme}, {"tenant": None})
        for row in run(connection, pair.sql("SELECT tenant FROM {ours}.chunk")) if trick != "SET LOCAL row_security = off" else []:
            assert row["tenant"] == pair.acme


def test_a_customers_login_takes_no_role_but_its_own(pair: Pair) -> None:
    with customer(pair) as connection:
        for role in ("{their_reader}", "{their_writer}", "headrace_reader", "headrace_pipeline"):
            refused(connection, pair.sql(f"SET LOCAL ROLE {role}"))
            refused(connection, pair.sql(f"SELECT set_config('role', '{role}', true)".replace('"', "")), errors.Error)


def test_a_login_reaches_the_roles_of_its_own_kind_alone(pair: Pair) -> None:
    with pair.app.readers.control() as connection:
        refused(connection, pair.sql("SET LOCAL ROLE {their_writer}"))
    with pair.app.database.control() as connection:
        refused(connection, pair.sql("SET LOCAL ROLE {their_reader}"))


def test_a_customer_who_lays_its_role_down_sees_nothing_even_through_a_leaky_function(pair: Pair) -> None:
    """As docs/retrieval.md has its login made. One that inherits the role sees its own rows, and those alone, without taking it on."""
    leak = "SELECT * FROM {ours}.chunk WHERE text::integer = 1 OR 1 / (length(text) - length(text)) = 1"
    with customer(pair) as connection:
        refused(connection, pair.sql(leak), errors.DataError)
    with customer_without_role(pair) as connection:
        for table in READABLE:
            assert {row.split(b"\t")[0] for row in run(connection, pair.sql(f"COPY {{ours}}.{table} TO STDOUT"))} == {pair.acme.encode()}
            refused(connection, pair.sql(f"COPY {{theirs}}.{table} TO STDOUT"))
    with pair.superuser() as superuser:
        superuser.execute(pair.sql("GRANT {our_reader} TO {customer} WITH INHERIT FALSE, SET TRUE"))
    with customer_without_role(pair) as connection:
        for table in READABLE:
            refused(connection, pair.sql(f"COPY {{ours}}.{table} TO STDOUT"))
        refused(connection, pair.sql(leak))
        refused(connection, pair.sql("SET LOCAL row_security = off; SELECT * FROM {ours}.chunk"))
    with pair.superuser() as superuser:
        superuser.execute(pair.sql("GRANT {our_reader} TO {customer} WITH INHERIT TRUE, SET TRUE"))


@every_attacker
def test_statistics_show_no_value_of_another_tenant(pair: Pair, attacker: Attacker) -> None:
    query = """SELECT count(*) AS found FROM pg_stats WHERE schemaname = %s
        AND (most_common_vals IS NOT NULL OR histogram_bounds IS NOT NULL OR null_frac IS NOT NULL)"""
    with pair.superuser() as superuser:
        assert superuser.execute(query, (f"tenant_{pair.globex}",)).fetchone() != {"found": 0}
    with attacker(pair) as connection:
        assert connection.execute(query, (f"tenant_{pair.globex}",)).fetchone() == {"found": 0}
        assert connection.execute("SELECT count(*) AS found FROM pg_stats_ext").fetchone() == {"found": 0}


@under_a_role
def test_nobody_watches_or_ends_another_tenants_session(pair: Pair, attacker: Attacker) -> None:
    with pair.app.database.tenant(pair.globex) as victim:
        victim.execute(pair.sql("SELECT FROM chunk WHERE text = {secret}"))
        with attacker(pair) as connection:
            activity = connection.execute("SELECT query FROM pg_stat_activity WHERE pid = %s", (victim.info.backend_pid,)).fetchall()
            assert activity == [{"query": "<insufficient privilege>"}]
            for function in ("pg_terminate_backend", "pg_cancel_backend"):
                refused(connection, pair.sql(f"SELECT {function}({victim.info.backend_pid})"))
        assert victim.execute("SELECT 1 AS still").fetchone() == {"still": 1}


def test_a_foreign_key_reveals_nothing_of_another_tenant(pair: Pair) -> None:
    """A hash that the other tenant holds fails as one that nobody holds."""
    reported = []
    with pair.app.database.tenant(pair.acme) as connection:
        for text_hash in (pair.globex, "x" * len(pair.globex)):
            cite = sql.SQL("INSERT INTO chunk_source (generation, text_hash, document, ordinal) VALUES (1, {}, 'd', 9)")
            error = refused(connection, cite.format(text_hash), errors.ForeignKeyViolation)
            reported.append((error.diag.message_primary, (error.diag.message_detail or "").replace(text_hash, "…")))
    assert reported[0] == reported[1]


def test_a_key_that_another_tenant_uses_is_free(pair: Pair) -> None:
    with pair.app.database.tenant(pair.acme) as connection, connection.transaction(force_rollback=True):
        for table in ("embedding", "chunk"):
            connection.execute(f"INSERT INTO {table} {ROWS[table]}", {"tenant": pair.globex, "text": "x"})


def test_what_the_catalogs_tell_every_login_is_names_and_numbers(pair: Pair) -> None:
    """Accepted: Postgres shows every login which roles, schemas and tables there are, how large they are, and how far a sequence is."""
    with customer(pair) as connection:
        assert connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", (f"tenant_{pair.globex}",)).rowcount == 1
        assert connection.execute("SELECT nextval('headrace.generation_number') > 0 AS number").fetchone() == {"number": True}


FAILING = [
    "SELECT text::integer FROM chunk",
    "SELECT embedding <=> text::halfvec FROM chunk",
    "SELECT text::timestamptz FROM chunk",
    "INSERT INTO chunk SELECT tenant, generation, text_hash, text, '{}', 1, embedding FROM chunk",
    "UPDATE document SET document = 'Ottilie Vanderbeek'",
    "UPDATE chunk SET text_hash = text",
    "INSERT INTO indexed (generation, document, name, title, uri) SELECT 9, document, name, title, uri FROM indexed",
    "DO $$ BEGIN PERFORM text::json FROM chunk; END $$",
]


@pytest.mark.parametrize("statement", FAILING)
def test_an_error_quotes_no_row_not_even_in_its_traceback(pair: Pair, statement: str) -> None:
    with pytest.raises(HeadraceError) as caught, pair.app.database.tenant(pair.globex) as connection:
        connection.execute(statement)
    reported = "".join(traceback.format_exception(caught.value))
    assert "HeadraceError" in reported or "DocumentError" in reported
    assert SECRET not in reported
