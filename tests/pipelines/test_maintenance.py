"""Maintenance: a task that a crash prevented is due and done by the next run, once, with its counts where people look."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pipelines import maintenance
from pipelines.dagster.runtime import Runtime
from pipelines.governance import surrogate_keys
from pipelines.stages import registry
from tests.pipelines.governance.test_keys import Died, dying
from tests.tenant_fixture import publish

PAGE = "# Seals\n\nThe shaft seal is inspected by mill@example.com once a year.\n"


@pytest.fixture
def strike() -> Iterator[Callable[[str], None]]:
    with dying() as armed:
        yield armed


@pytest.fixture
def rotating(app: Runtime, acme: str) -> str:
    """A tenant whose surrogate key was just rotated: its next index is built beside the active one, and has to be promoted."""
    publish(app, acme, page_md=PAGE)
    app.ingest(acme)
    surrogate_keys.rotate(app, acme)
    return acme


def test_each_task_has_a_name_of_its_own_and_follows_a_stage_or_waits_for_an_idle_moment() -> None:
    tasks = maintenance.tasks()
    assert len({task.name for task in tasks}) == len(tasks) > 0
    assert {task.after for task in tasks} <= {*registry.NAMES, None}


def test_a_promotion_that_a_crash_prevented_is_due_and_done_by_the_next_run(
    app: Runtime, rotating: str, strike: Callable[[str], None]
) -> None:
    strike("promote:before-commit")
    with pytest.raises(Died):
        app.ingest(rotating)
    session = app.session(rotating)
    assert "promotion" in maintenance.due(app, session)
    assert maintenance.run_due(app, session)["promotion"] == {"generations": 1}
    assert "promotion" not in maintenance.due(app, session)


def test_tasks_run_after_their_stage_and_their_counts_stand_in_its_tally(app: Runtime, rotating: str) -> None:
    _, reports = app.ingest(rotating)
    assert reports["index"].tally["maintenance/promotion/generations"] == 1
    assert reports["project"].tally["maintenance/end-of-rotation/ended"] == 1
    assert maintenance.due(app, app.session(rotating)) == []


def test_the_counts_of_maintenance_at_the_end_of_an_ingest_stand_in_the_last_stages_tally(app: Runtime, acme: str) -> None:
    publish(app, acme, page_md=PAGE)
    app.ingest(acme)
    with app.session(acme).transaction() as connection:
        connection.execute("UPDATE lexicon SET behind = true")
    _, reports = app.ingest(acme)
    assert reports["project"].tally["maintenance/terms/passages"] == 1


def test_a_task_by_the_clock_runs_once_in_its_time(app: Runtime, acme: str) -> None:
    session = app.session(acme)
    assert "unused-vectors" in maintenance.run_due(app, session)
    assert "unused-vectors" not in maintenance.run_due(app, session)
    assert "unused-vectors" not in maintenance.due(app, session)
