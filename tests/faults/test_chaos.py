"""`benchmarks.chaos` with few kills and a fixed seed, and the comparison it ends in: that it sees what it is there to see."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import chaos
from benchmarks._compare import Held, held
from benchmarks._verdict import WRONG, drain, faults, from_scratch
from benchmarks._workload import Workload, publish
from core.crashpoints import POINTS
from pipelines.app import Headrace
from pipelines.governance import tenants

KILLS = len(POINTS) + 4


def test_streams_killed_at_every_commit_and_at_any_instant_leave_no_trace() -> None:
    told = chaos.measure(Path(), kills=KILLS, seed=1)
    assert {key: told[key] for key in WRONG} == dict.fromkeys(WRONG, 0)
    assert told["kills"] >= KILLS
    assert told["points"] == len(POINTS)


def test_the_same_seed_gives_the_same_events() -> None:
    one, other = Workload(7), Workload(7)
    assert [one.take(5) for _ in range(10)] == [other.take(5) for _ in range(10)]
    assert one.newest == other.newest


def changed(rows: Mapping[str, Any], **values: Any) -> dict[str, Any]:
    return {name: {**row, **values} for name, row in rows.items()}


HARMS: dict[str, Callable[[Held], Held]] = {
    "lost": lambda held: replace(held, events=held.events[1:]),
    "repeated": lambda held: replace(held, states=changed(held.states, revision=99)),
    "resurrected": lambda held: replace(held, held=held.held | held.states.keys()),
    "stale": lambda held: replace(
        held, sources={d: [{**row, "text": "Of another version."} for row in of] for d, of in held.sources.items()}
    ),
    "orphans": lambda held: replace(held, unsourced=1),
    "differs_from_scratch": lambda held: replace(held, letters=[{**row, "reason": "another"} for row in held.letters]),
}


@pytest.fixture(scope="module")
def compared(app: Headrace) -> tuple[str, Workload]:
    """A tenant with a workload that came to its end without harm, and `<tenant>-plain` beside it."""
    tenants.add(app, "compared")
    workload = Workload(3)
    for _ in range(3):
        publish(app.endpoints.kafka_client(), "compared", workload.take(10))
        app.ingest("compared")
    drain(app, "compared")
    from_scratch(app, workload, "compared-plain")
    return "compared", workload


def test_the_workload_has_all_that_may_go_wrong(compared: tuple[str, Workload]) -> None:
    newest = compared[1].newest.values()
    assert any(version.deleted for version in newest)
    assert any(not version.readable and not version.deleted for version in newest)
    assert any(record.refused for record in compared[1].records)
    assert len(set(compared[1].records)) < len(compared[1].records)


def test_where_nothing_was_harmed_nothing_is_wrong(app: Headrace, compared: tuple[str, Workload]) -> None:
    assert faults(app, *compared, "compared-plain") == {kind: [] for kind in WRONG}


@pytest.mark.parametrize("kind", WRONG)
def test_the_comparison_sees_each_kind_of_harm(app: Headrace, compared: tuple[str, Workload], kind: str) -> None:
    harmed = HARMS[kind](held(app, "compared"))
    assert faults(app, *compared, "compared-plain", harmed)[kind]
