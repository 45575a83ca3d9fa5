"""A database that an earlier version wrote is migrated with everything in it, and is worked on and searched afterwards.

`before_claims.sql.xz` is a dump of what the last commit before migration 0011 left: two tenants with documents that were indexed,
deleted and refused, one that landed and no stage took, and the claim of a dead process on it.

Of a data folder only Postgres is restored, because no migration touches the rest. Kafka is read from positions that Postgres has, and what
it lost is a reset (`tests/events/test_positions.py`). Neo4j is a projection: the stages write it again, as here. The secrets are files of
one value each, whose format has not changed since the dump; the master key is given.
"""

from __future__ import annotations

import lzma
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from core.config import Endpoints, Settings
from core.schema.migrate import drop_tenant, migrate, pending
from pipelines import maintenance
from pipelines.app import Headrace
from pipelines.operations.search import ask
from pipelines.stages.registry import NAMES
from tests.core.test_migrate import database, superuser_of, url

__all__ = ["database", "superuser_of", "url"]

DUMP = Path(__file__).parents[1] / "data/migration/before_claims.sql.xz"
MASTER_KEY = "mnNleE3/jd+SnBuelxRUQKNn8ReKEwxSw36PfRT9ep4="
TENANTS = ("migrated-a", "migrated-b")
ROLES = """
CREATE ROLE "headrace_tenant_{0}" NOLOGIN;
CREATE ROLE "headrace_reader_{0}" NOLOGIN;
GRANT "headrace_tenant_{0}" TO headrace_pipeline WITH INHERIT FALSE, SET TRUE;
GRANT "headrace_reader_{0}" TO headrace_reader WITH INHERIT FALSE, SET TRUE;
GRANT "headrace_tenant_{0}", "headrace_reader_{0}" TO headrace_owner WITH ADMIN TRUE, INHERIT FALSE, SET FALSE;
"""


@pytest.fixture
def restored(superuser_of: Callable[[str], psycopg.Connection[Any]], database: str, url: str) -> Iterator[str]:
    """The owner's URL of a database that holds the dump."""
    with closing(superuser_of(database)) as connection:
        for tenant in TENANTS:
            connection.execute(ROLES.format(tenant))
        connection.execute(lzma.decompress(DUMP.read_bytes()))
    yield url
    for tenant in TENANTS:
        drop_tenant(url, tenant)


@pytest.fixture
def migrated(restored: str, settings: Settings, endpoints: Endpoints, database: str) -> Iterator[Headrace]:
    """Headrace on it, once it is migrated."""
    assert pending(restored)[0] == "0011_claims.sql"
    migrate(restored)
    urls = {
        name: SecretStr(getattr(endpoints, name).get_secret_value().rsplit("/", 1)[0] + f"/{database}")
        for name in ("postgres_owner", "postgres_pipeline", "postgres_reader")
    }
    with Headrace(settings, endpoints.model_copy(update={**urls, "master_key": SecretStr(MASTER_KEY)})) as headrace:
        yield headrace
        for tenant in TENANTS:
            headrace.models.projection.drop(tenant)


def test_the_claim_of_a_dead_process_is_kept_under_its_new_name(migrated: Headrace) -> None:
    for tenant in TENANTS:
        with migrated.session(tenant).transaction() as connection:
            [claim] = connection.execute("SELECT stage, process, batch_size, crashes, solo_attempts FROM claim").fetchall()
            assert connection.execute("SELECT to_regclass('hand') AS hand").fetchall() == [{"hand": None}]
        assert claim == {"stage": "parse", "process": 4711, "batch_size": 2, "crashes": 1, "solo_attempts": 0}


def test_what_was_indexed_is_searched_and_what_was_left_is_done(migrated: Headrace) -> None:
    tenant, _ = TENANTS
    assert [cited.document for passage in ask(migrated, tenant, "turbine seal", ["group:staff"], 1) for cited in passage.citations] == [
        "seals.md"
    ]
    session = migrated.session(tenant)
    reports = {name: migrated.step(session, name) for name in NAMES}
    assert reports["index"].done >= 1
    found = {cited.document for passage in ask(migrated, tenant, "page", ["group:staff"], 10) for cited in passage.citations}
    assert found == {"seals.md", "gate.md", "late.md"}
    maintenance.run_due(migrated, session)
    assert "terms" not in maintenance.due(migrated, session)
    with_words = ask(migrated, tenant, "turbine seal", ["group:staff"], 5, "lexical")
    assert "seals.md" in {cited.document for passage in with_words for cited in passage.citations}
    with session.transaction() as connection:
        assert connection.execute("SELECT count(*) AS n FROM claim").fetchall() == [{"n": 0}]
        assert connection.execute("SELECT reason FROM dead_letter").fetchall() == [{"reason": "corrupt-document"}]
    assert {name: migrated.step(session, name).moved for name in NAMES} == dict.fromkeys(NAMES, 0)


def test_the_data_of_its_tenants_is_upgraded_once(migrated: Headrace) -> None:
    for tenant in TENANTS:
        session = migrated.session(tenant)
        assert "upgrade" in maintenance.due(migrated, session)
        maintenance.run_due(migrated, session)
        migrated.maintained_at.clear()
        assert "upgrade" not in maintenance.due(migrated, session)
