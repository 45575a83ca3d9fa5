"""Retention deletes what is old enough, by class, but nothing that a stage still needs, and nothing under legal hold."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.runtime import RESOURCE
from core.errors import PolicyError
from pipelines.app import Headrace
from pipelines.dagster.schedules import retention_schedule
from pipelines.definitions import build
from pipelines.governance import audit, retention, tenants
from pipelines.operations import dead_letters, explain
from pipelines.operations.stage_counts import due
from tests.tenant_fixture import World, publish

PAGE = "# Seals\n\nThe shaft seal of the {} is inspected once a year.\n"
EVERY_CLASS = dict.fromkeys((f"{name}_days" for name in retention.CLASSES), 30)


def configure(app: Headrace, tenant: str, **settings: Any) -> None:
    tenants.configure(app, tenant, retention=settings)


def age(world: World, days: int = 31) -> None:
    """Make everything this many days older."""
    for table, column in (
        ("document", "landed_at"),
        ("event", "landed_at"),
        ("embedding", "created_at"),
        ("dead_letter", "first_at"),
        ("dead_letter", "resolved_at"),
    ):
        world.rows(f"UPDATE {table} SET {column} = {column} - make_interval(days => %(days)s) RETURNING 1", days=days)


def went(app: Headrace, tenant: str) -> dict[str, int]:
    return {name: row.went for name, row in retention.enforce(app, tenant).classes.items() if row.went}


@pytest.fixture
def old(app: Headrace, acme: str) -> World:
    """A tenant with two documents that were ingested a month ago."""
    world = World(app, acme)
    publish(app, acme, page=PAGE.format("pump"), other=PAGE.format("mill"))
    app.ingest(acme)
    age(world)
    return world


def test_nothing_goes_by_default(app: Headrace, old: World) -> None:
    before = old.everything()
    enforced = retention.enforce(app, old.tenant)
    assert (enforced.went, enforced.held) == (0, False)
    assert old.everything() == before
    assert {row.days for row in enforced.classes.values()} == {None}


def test_what_is_old_enough_goes_and_what_is_younger_stays(app: Headrace, old: World) -> None:
    configure(app, old.tenant, landed_days=32, parsed_days=30)
    assert went(app, old.tenant) == {"parsed": 2}
    configure(app, old.tenant, landed_days=31)
    assert went(app, old.tenant) == {"landed": 2}
    assert went(app, old.tenant) == {}
    recorded = [entry["details"] for entry in audit.entries(app, old.tenant) if entry["action"] == "retention"]
    assert recorded == [{"landed": 2}, {"parsed": 2}]


def test_what_was_deleted_is_not_needed_while_nothing_changes(app: Headrace, old: World) -> None:
    configure(app, old.tenant, **EVERY_CLASS)
    before = old.rows("SELECT * FROM chunk_source ORDER BY document")
    assert went(app, old.tenant) == {"landed": 2, "parsed": 2, "embeddings": 4}
    _, reports = app.ingest(old.tenant)
    assert sum(report.moved for report in reports.values()) == 0
    assert (due(app, old.tenant), dead_letters.open_letters(app, old.tenant)) == (0, [])
    assert old.rows("SELECT * FROM chunk_source ORDER BY document") == before


def test_what_failed_or_has_still_to_be_read_keeps_what_it_needs(app: Headrace, acme: str) -> None:
    world = World(app, acme)
    publish(app, acme, broken=b"PK\x03\x04 cut off", waiting=PAGE.format("pump"))
    app.land(acme)
    app.run(acme, "parse")
    age(world)
    configure(app, acme, **EVERY_CLASS)
    enforced = retention.enforce(app, acme)
    assert {name: row.went for name, row in enforced.classes.items() if row.went} == {"landed": 1}
    assert (enforced.classes["landed"].stays, enforced.classes["parsed"].stays) == (1, 1)
    app.ingest(acme)
    assert explain.explain(app, acme, "waiting")[0].verdict == "searchable"
    assert world.artifact("land", "broken") is not None


def test_a_deleted_parsed_document_is_parsed_again_when_it_is_needed(app: Headrace, old: World) -> None:
    configure(app, old.tenant, parsed_days=30)
    assert went(app, old.tenant) == {"parsed": 2}
    # the title is redacted with the text; the content is unchanged
    publish(app, old.tenant, 2, title="Seals of pumps", page=PAGE.format("pump"))
    app.ingest(old.tenant)
    assert old.rows("SELECT DISTINCT title FROM indexed WHERE document = %(key)s", key=old.key("page")) == [{"title": "Seals of pumps"}]
    assert old.artifact("parse", "page") is not None
    assert old.artifact("parse", "other") is None


def test_a_changed_reading_without_the_content_is_a_dead_letter_and_the_old_version_stays(app: Headrace, old: World) -> None:
    configure(app, old.tenant, landed_days=30, parsed_days=30)
    assert went(app, old.tenant) == {"landed": 2, "parsed": 2}
    publish(app, old.tenant, 2, page=PAGE.format("weir"))
    tenants.configure(app, old.tenant, reading={"pdf": "text"})
    app.ingest(old.tenant)
    (letter,) = dead_letters.open_letters(app, old.tenant)
    assert (letter.document, letter.stage, letter.reason) == (old.key("other"), "parse", "content-expired")
    assert explain.explain(app, old.tenant, "other")[0].verdict.startswith("an older version is searchable")
    assert explain.explain(app, old.tenant, "page")[0].verdict == "searchable"
    publish(app, old.tenant, 2, other=PAGE.format("mill"))
    app.ingest(old.tenant)
    assert dead_letters.open_letters(app, old.tenant) == []


def test_old_events_are_deleted_but_not_a_documents_newest_nor_what_can_be_replayed(app: Headrace, acme: str) -> None:
    world = World(app, acme)
    publish(app, acme, 1, page=PAGE.format("pump"), broken=PAGE.format("mill"))
    publish(app, acme, 2, page=PAGE.format("weir"), broken=b"PK\x03\x04 cut off")
    app.ingest(acme)
    age(world)
    configure(app, acme, events_days=30, dead_letters_days=30)
    assert went(app, acme) == {"events": 2}
    assert {row["sequence"] for row in world.rows("SELECT sequence FROM event")} == {2}
    publish(app, acme, 3, broken=PAGE.format("mill"))
    app.ingest(acme)
    age(world)
    assert went(app, acme) == {"events": 1, "dead_letters": 1}


def test_under_legal_hold_nothing_goes(app: Headrace, old: World) -> None:
    configure(app, old.tenant, **EVERY_CLASS, legal_hold=True)
    before = old.everything()
    enforced = retention.enforce(app, old.tenant)
    assert (enforced.went, enforced.held) == (0, True)
    assert old.everything() == before


@pytest.mark.parametrize("bad", [{"landed_days": 0}, {"landed_days": True}, {"events_days": -1}, {"legal_hold": "maybe"}, {"years": 1}])
def test_an_invalid_retention_is_refused(app: Headrace, acme: str, bad: dict[str, Any]) -> None:
    with pytest.raises(PolicyError):
        configure(app, acme, **bad)


# --- in Dagster


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


def test_a_run_shows_a_table_of_what_went(app: Headrace, old: World, instance: dg.DagsterInstance) -> None:
    configure(app, old.tenant, landed_days=30)
    instance.add_dynamic_partitions("tenants", [old.tenant])
    job = build({RESOURCE: app}).resolve_job_def("enforce_retention")
    result = job.execute_in_process(instance=instance, partition_key=old.tenant)
    (event,) = result.get_asset_materialization_events()
    metadata = {key: value.value for key, value in event.step_materialization_data.materialization.metadata.items()}
    table = str(metadata["classes"]).splitlines()
    assert "| contents that came with events | 30 | 2 | 0 |" in table
    assert "| cached vectors | never | 0 | 0 |" in table
    assert (metadata["went/landed"], metadata["legal hold"]) == (2, False)


def test_the_schedule_starts_a_run_for_each_tenant_with_retention(
    app: Headrace, acme: str, globex: str, instance: dg.DagsterInstance
) -> None:
    def requests() -> list[dg.RunRequest]:
        context = dg.build_schedule_context(instance=instance, scheduled_execution_time=datetime(2026, 3, 1, tzinfo=UTC))
        requested: Any = retention_schedule(context, headrace=app)
        return [request for request in requested if isinstance(request, dg.RunRequest)]

    instance.add_dynamic_partitions("tenants", [acme, globex])
    assert requests() == []
    configure(app, globex, events_days=7)
    assert [request.partition_key for request in requests()] == [globex]
