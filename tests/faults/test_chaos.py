"""`benchmarks.chaos` with few kills and a fixed seed, and tests that its comparison detects each kind of fault."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import chaos
from benchmarks._compare import TenantState, read_state
from benchmarks._verdict import WRONG, drain, faults, from_scratch
from benchmarks._workload import Workload, publish
from pipelines.app import Headrace
from pipelines.governance import tenants

pytestmark = pytest.mark.servers

KILLS = len(chaos.CRASH_POINTS) + 8


def test_streams_killed_at_every_commit_and_at_any_instant_leave_no_trace() -> None:
    result = chaos.measure(Path(), kills=KILLS, seed=1)
    assert {key: result[key] for key in WRONG} == dict.fromkeys(WRONG, 0)
    assert result["kills"] >= KILLS
    assert result["points"] == len(chaos.CRASH_POINTS)


def test_the_same_seed_gives_the_same_events() -> None:
    one, other = Workload(7), Workload(7)
    assert [one.take(5) for _ in range(10)] == [other.take(5) for _ in range(10)]
    assert one.newest == other.newest


def changed(rows: Mapping[str, Any], **values: Any) -> dict[str, Any]:
    return {name: {**row, **values} for name, row in rows.items()}


FAULTS: dict[str, Callable[[TenantState], TenantState]] = {
    "lost": lambda state: replace(state, events=state.events[1:]),
    "repeated": lambda state: replace(state, documents=changed(state.documents, revision=99)),
    "resurrected": lambda state: replace(state, in_any_generation=state.in_any_generation | state.documents.keys()),
    "stale": lambda state: replace(
        state, sources={d: [{**row, "text": "Of another version."} for row in of] for d, of in state.sources.items()}
    ),
    "orphans": lambda state: replace(state, unsourced=1),
    "differs_from_scratch": lambda state: replace(state, dead_letters=[{**row, "reason": "another"} for row in state.dead_letters]),
}


@pytest.fixture(scope="module")
def compared(app: Headrace) -> tuple[str, Workload]:
    """A tenant with a workload that was processed without faults, and the tenant `<tenant>-plain` with the same records."""
    tenants.add(app, "compared")
    workload = Workload(5)
    for _ in range(3):
        publish(app.endpoints.kafka_client(), "compared", workload.take(10))
        app.ingest("compared")
    drain(app, "compared")
    from_scratch(app, workload, "compared-plain")
    return "compared", workload


def test_the_workload_has_every_kind_of_record(compared: tuple[str, Workload]) -> None:
    newest = compared[1].newest.values()
    assert any(version.deleted for version in newest)
    assert any(version.corrupt for version in newest)
    assert any(version.readable and not version.sections for version in newest)
    assert any(record.refused and not record.hostile for record in compared[1].records)
    assert any(record.hostile for record in compared[1].records)
    assert len(set(compared[1].records)) < len(compared[1].records)


def test_the_comparison_finds_nothing_wrong_without_a_fault(app: Headrace, compared: tuple[str, Workload]) -> None:
    assert faults(app, *compared, "compared-plain") == {kind: [] for kind in WRONG}


@pytest.mark.parametrize("kind", WRONG)
def test_the_comparison_detects_each_kind_of_fault(app: Headrace, compared: tuple[str, Workload], kind: str) -> None:
    faulty = FAULTS[kind](read_state(app, "compared"))
    assert faults(app, *compared, "compared-plain", faulty)[kind]
