"""The stream as Dagster runs it: what a run reports and how often, what keeps its slots alive, and what ends it."""

from __future__ import annotations

import os
import re
import signal
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise
from threading import Event as Flag
from time import monotonic, sleep, time
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from hypothesis import given
from hypothesis import strategies as st

from assets import stages
from assets.runtime import RESOURCE
from core.ledger.stage import Report
from pipelines.dagster import reporter, stream_sensor
from pipelines.dagster.reporter import Part, Reporter
from pipelines.dagster.runtime import Runtime
from pipelines.dagster.sensors import lag_sensor
from pipelines.dagster.stream_job import SLOT, name_of, stream_job
from pipelines.dagster.throttle import Throttle
from pipelines.definitions import build
from pipelines.governance.tenants import add
from pipelines.stream import slots
from pipelines.stream.observer import Heartbeat
from tests.tenant_fixture import own_postgres, publish, servers_of

PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def own(app: Runtime, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """A Postgres of this module's own, so that the stream finds none of the other tests' tenants; one slot; the session's models."""
    given = {"data_dir": tmp_path_factory.mktemp("dagster-stream"), **servers_of(app), "stream": {"slots": 1}}
    with own_postgres(app, given) as headrace:
        yield headrace


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def with_slots(own: Runtime, count: int) -> Runtime:
    stream = own.settings.stream.model_copy(update={"slots": count})
    return Runtime(own.settings.model_copy(update={"stream": stream}), own.endpoints)


def materialized(instance: dg.DagsterInstance, asset: str, tenant: str) -> list[dg.AssetMaterialization]:
    """Its materializations for the tenant, the oldest first."""
    wanted = dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[tenant])
    records = instance.fetch_materializations(wanted, limit=1000, ascending=True).records
    return [record.asset_materialization for record in records if record.asset_materialization]


def number(event: dg.AssetMaterialization | dg.AssetObservation, label: str) -> Any:
    return event.metadata[label].value if label in event.metadata else 0


def eventually(seen: Callable[[], Any]) -> Any:
    deadline = monotonic() + PATIENCE_S
    while not (found := seen()):
        assert monotonic() < deadline
        sleep(0.1)
    return found


def test_a_run_reports_its_micro_batches_while_it_runs_and_ends_well_when_it_is_terminated(
    own: Runtime, tenant: str, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporter, "EVERY_S", 2.0)
    monkeypatch.setattr(reporter, "LAG_S", 0.5)
    add(own, tenant)
    names = [f"page{count}" for count in range(24)]

    def go_on() -> float:
        """During the run: publish, check that it reports, and end it while there is something left to report."""
        started = monotonic()
        publish(own, tenant, 1, {name: f"# {name}\n\nThe whole text of {name}." for name in names[:8]})
        try:
            eventually(lambda: materialized(instance, "knowledge_graph", tenant))
            for at in range(8, 24, 4):
                publish(own, tenant, 1, {name: f"# {name}\n\nThe whole text of {name}." for name in names[at : at + 4]})
                sleep(0.3)
            eventually(lambda: own.stage_counts(tenant, "project").documents["done"] == len(names))
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
        return monotonic() - started

    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(go_on)
        job = build({RESOURCE: own}).resolve_job_def(stream_job.name)
        result = job.execute_in_process(instance=instance, tags={SLOT: "0"})
        lasted_s = beside.result()
    assert result.success
    landed = materialized(instance, "document_events", tenant)
    assert sum(number(event, "events/landed") for event in landed) == len(names)
    for arrow in stages.STAGE_ASSETS:
        events = materialized(instance, arrow.asset, tenant)
        label = f"{arrow.stages[-1]}/documents/done" if len(arrow.stages) > 1 else "documents/done"
        assert sum(number(event, label) for event in events) == len(names), arrow.asset
        assert 1 <= len(events) <= lasted_s / 2 + 2
        assert any(key.endswith("latency/p50_s") for key in events[0].metadata)
        assert any(key.endswith("overview") for key in events[0].metadata)
        assert {"stream/micro_batches", "lag/events"} <= events[0].metadata.keys()
    seen = [record.asset_observation for record in instance.fetch_observations(dg.AssetKey("stream"), limit=100).records]
    assert {number(event, "slot") for event in seen if event} == {name_of("0")}
    assert all(f"events behind/{name_of('0')}" in event.metadata for event in seen if event)


# how often


COUNTS = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9), st.floats(0, 3)), max_size=60)


@given(COUNTS)
def test_whatever_comes_when_each_key_has_its_turn_seldom_and_nothing_is_lost(coming: list[tuple[int, int, float]]) -> None:
    throttle: Throttle[int, int] = Throttle(lambda before, after: before + after, every_s=15, per_s=0.5, burst=3)
    added, heard, turns, now = Counter[int](), Counter[int](), list[tuple[float, int]](), 0.0
    for key, part, later in coming:
        now += later
        added[key] += part
        throttle.add(key, part)
        for due, whole in throttle.due(now):
            turns.append((now, due))
            heard[due] += whole
    for key in set(added):
        at = [when for when, whose in turns if whose == key]
        assert all(later - before >= 15 for before, later in pairwise(at))
    for first in range(len(turns)):
        for last in range(first, len(turns)):
            assert last - first + 1 <= 3 + 0.5 * (turns[last][0] - turns[first][0]) + 1e-6
    for key, whole in throttle.rest():
        heard[key] += whole
    assert heard == added


def test_of_a_thousand_busy_tenants_each_has_its_turn() -> None:
    throttle: Throttle[int, int] = Throttle(lambda before, after: before + after, every_s=15, per_s=5, burst=50)
    heard: Counter[int] = Counter()
    for second in range(400):
        for tenant in range(1000):
            throttle.add(tenant, 1)
        heard.update(tenant for tenant, _ in throttle.due(float(second)))
    assert len(heard) == 1000
    assert heard.total() <= 50 + 5 * 400
    assert max(heard.values()) - min(heard.values()) <= 1


def report(tenant: str, stage: str = "parse", **counts: Any) -> Report:
    return Report(stage, tenant, **counts)


def test_while_the_event_log_is_away_nothing_is_lost_and_memory_is_bounded(own: Runtime, tenant: str) -> None:
    add(own, tenant)
    heard: list[Any] = []
    away = Flag()

    def emit(event: Any) -> None:
        if away.is_set():
            raise OSError("the event log is away")
        heard.append(event)

    observer = Reporter(own, emit, lambda *_: None)
    away.set()
    for second in range(100):
        observer.ran(tenant, report(tenant, done=100, latencies=[float(second)] * 100))
        observer.report(float(second))
    assert heard == []
    away.clear()
    observer.finish()
    [event] = heard
    assert number(event, "documents/done") == 10_000
    assert number(event, "stream/micro_batches") == 100
    assert number(event, "latency/p99_s") == 99.0


def test_a_removed_tenant_is_not_reported_and_the_others_are(own: Runtime, tenant: str) -> None:
    add(own, tenant)
    heard: list[Any] = []
    observer = Reporter(own, heard.append, lambda *_: None)
    observer.ran("gone", report("gone", done=1))
    observer.ran(tenant, report(tenant, done=1))
    observer.report(0.0)
    observer.finish()
    assert [event.partition for event in heard] == [tenant]


def test_parts_of_two_stages_of_one_asset_are_reported_as_one(own: Runtime, tenant: str) -> None:
    add(own, tenant)
    heard: list[Any] = []
    observer = Reporter(own, heard.append, lambda *_: None)
    observer.ran(tenant, report(tenant, "graph", done=3))
    observer.ran(tenant, report(tenant, "project", done=2, unavailable="Neo4j: away"))
    observer.report(0.0)
    [event] = heard
    assert event.asset_key.to_user_string() == "knowledge_graph"
    assert (number(event, "graph/documents/done"), number(event, "project/documents/done")) == (3, 2)
    assert number(event, "project/waits for") == "Neo4j: away"


def test_maintenance_of_an_idle_stream_is_reported_with_what_is_still_due(own: Runtime, tenant: str) -> None:
    add(own, tenant)
    heard: list[Any] = []
    observer = Reporter(own, heard.append, lambda *_: None)
    observer.maintained(tenant, {"terms/passages": 3})
    observer.maintained(tenant, {"terms/passages": 2, "unused-vectors/vectors": 7})
    observer.report(0.0)
    [event] = heard
    assert (event.asset_key.to_user_string(), event.partition) == ("maintenance", tenant)
    assert (number(event, "terms/passages"), number(event, "unused-vectors/vectors")) == (5, 7)
    assert (number(event, "due"), number(event, "tasks due")) == ("nothing", 0)


def test_lag_is_reported_rarely_with_the_worst_tenants_first_and_hardly_ever_without_lag(own: Runtime) -> None:
    heard: list[Any] = []
    observer = Reporter(own, heard.append, lambda *_: None)
    for second in range(0, 600, 2):
        observer.heartbeat(Heartbeat("dagster-0", 30, 30, {}, {}, {}))
        observer.report(float(second))
    assert len(heard) == 2
    lag = {f"tenant-{number:02}": number * 10 for number in range(30)}
    for second in range(600, 690, 2):
        observer.heartbeat(Heartbeat("dagster-0", 30, 30, {"tenant-29": 7}, lag, {"project": "Neo4j: away"}))
        observer.report(float(second))
    assert len(heard) == 5
    markdown = str(number(heard[-1], "lag"))
    assert markdown.startswith("![tenant-29: 290 events, 7 in flight; 297 at the most; tenant-28")
    svg = b64decode(markdown.split("base64,")[1].rstrip(")")).decode()
    assert len(re.findall("<polyline", svg)) == 20
    assert "9 more tenants are not shown" in svg
    assert number(heard[-1], "events behind/dagster-0") == sum(lag.values())
    assert "project" in str(number(heard[-1], "waits for"))


# what keeps slots alive


def evaluate(own: Runtime, instance: dg.DagsterInstance, count: int, cursor: str | None = None) -> dg.SensorResult:
    with with_slots(own, count) as headrace:
        result = stream_sensor.stream_sensor(dg.build_sensor_context(instance=instance, cursor=cursor), headrace=headrace)
    assert isinstance(result, dg.SensorResult)
    return result


ORIGIN = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "here"), stream_job.name)


def a_run(instance: dg.DagsterInstance, slot: int, status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED) -> dg.DagsterRun:
    return instance.create_run_for_job(stream_job, status=status, tags={SLOT: str(slot)}, remote_job_origin=ORIGIN)


def requested(result: dg.SensorResult) -> list[str]:
    return [request.tags[SLOT] for request in result.run_requests or []]


def test_each_slot_has_one_run_and_a_missing_one_is_asked_for_once(own: Runtime, instance: dg.DagsterInstance) -> None:
    first = evaluate(own, instance, 2)
    assert requested(first) == ["0", "1"]
    again = evaluate(own, instance, 2)
    assert [request.run_key for request in again.run_requests or []] == [request.run_key for request in first.run_requests or []]
    a_run(instance, 0, dg.DagsterRunStatus.QUEUED)
    second = a_run(instance, 1)
    assert requested(evaluate(own, instance, 2)) == []
    # terminated, by a person or because the UI ended: the next one need not wait
    instance.report_run_canceled(second)
    [request] = evaluate(own, instance, 2).run_requests or []
    assert request.tags[SLOT] == "1"
    assert request.run_key not in {request.run_key for request in first.run_requests or []}


def test_a_slot_whose_runs_keep_crashing_waits_longer_each_time_and_fails_the_check_until_it_is_back(
    own: Runtime, instance: dg.DagsterInstance
) -> None:
    cursor, pauses, passed = None, [], []
    for _ in range(7):
        result = evaluate(own, instance, 1, cursor)
        cursor = result.cursor
        passed += [event.passed for event in result.asset_events if isinstance(event, dg.AssetCheckEvaluation)]
        pauses += re.findall(r"next run in (\d+) s", str(result.skip_reason))
        run = a_run(instance, 0)
        instance.report_run_failed(run)
    assert [int(pause) for pause in pauses] == pytest.approx([30, 60, 120, 240, 480, 900], abs=20)
    # once well, once not: what has not changed is not reported again
    assert passed == [True, False]
    a_run(instance, 0)
    [back] = evaluate(own, instance, 1, cursor).asset_events
    assert isinstance(back, dg.AssetCheckEvaluation)
    assert (back.check_name, back.passed) == ("stream_slots", True)


RUNS = st.lists(st.tuples(st.sampled_from([dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS]), st.floats(0, 2000)), max_size=8)


@given(RUNS)
def test_only_short_lives_that_ended_badly_and_in_a_row_count(lives: list[tuple[dg.DagsterRunStatus, float]]) -> None:
    records = [
        dg.RunRecord(1, dg.DagsterRun("stream", status=status), datetime.now(UTC), datetime.now(UTC), 1000.0, 1000.0 + lived_s)
        for status, lived_s in lives
    ]
    young = [status == dg.DagsterRunStatus.FAILURE and lived_s < stream_sensor.STEADY_S for status, lived_s in lives]
    expected = young.index(False) if False in young else len(young)
    assert stream_sensor.crashes_in_a_row(records) == expected


def test_a_run_whose_process_is_silent_fails_the_check_and_keeps_its_slot(own: Runtime, instance: dg.DagsterInstance) -> None:
    """It hangs, or is gone; which of both is decided by its presence (`pipelines.dagster.dead_runs`)."""
    run = started(instance, 0)
    healthy(own, instance)
    slots.enrol(own, name_of("0"))
    healthy(own, instance)
    # it has taken its slot, and loads
    silent_since(own, "61 s", began="61 s")
    healthy(own, instance)
    silent_since(own, "61 s", began="62 s")
    result = evaluate(own, instance, 1)
    [evaluation] = result.asset_events
    assert isinstance(evaluation, dg.AssetCheckEvaluation)
    assert (evaluation.passed, requested(result)) == (False, [])
    assert "has not been seen for a minute" in str(evaluation.description)
    assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.STARTED  # type: ignore[union-attr]


def healthy(own: Runtime, instance: dg.DagsterInstance) -> None:
    result = evaluate(own, instance, 1)
    assert requested(result) == []
    assert all(event.passed for event in result.asset_events if isinstance(event, dg.AssetCheckEvaluation))


def silent_since(own: Runtime, last_seen: str, began: str) -> None:
    """The slot was taken, and last seen, so long ago."""
    with own.database.control() as connection:
        connection.execute(
            "UPDATE headrace.slot SET started_at = now() - %(began)s::interval, seen_at = now() - %(seen)s::interval",
            {"began": began, "seen": last_seen},
        )


def started(instance: dg.DagsterInstance, slot: int) -> dg.DagsterRun:
    run = a_run(instance, slot, dg.DagsterRunStatus.STARTING)
    began = dg.DagsterEvent("PIPELINE_START", stream_job.name, message="began a minute and more ago")
    instance.report_dagster_event(began, run.run_id, timestamp=time() - 65)
    return run


def test_slots_that_are_no_longer_wanted_are_ended_and_with_none_the_check_is_silent(own: Runtime) -> None:
    queued = {"run_coordinator": {"module": "dagster._core.run_coordinator", "class": "QueuedRunCoordinator"}}
    with dg.DagsterInstance.local_temp(overrides={**queued, "telemetry": {"enabled": False}}) as instance:
        kept, surplus = (a_run(instance, slot, dg.DagsterRunStatus.QUEUED) for slot in range(2))
        assert "Slot 1 is ended" in str(evaluate(own, instance, 1).skip_reason)
        status = {run.run_id: run.status for run in instance.get_runs()}
        assert status == {kept.run_id: dg.DagsterRunStatus.QUEUED, surplus.run_id: dg.DagsterRunStatus.CANCELED}
        none = evaluate(own, instance, 0)
        assert "stream.slots is 0" in str(none.skip_reason)
        assert not none.asset_events


def test_the_slots_of_another_code_location_are_its_own(own: Runtime, instance: dg.DagsterInstance) -> None:
    a_run(instance, 0)
    a_run(instance, 1)
    for location, expected in (("here", []), ("elsewhere", ["0"])):
        origin = RegisteredCodeLocationOrigin(location)
        context = dg.SensorEvaluationContext(None, None, None, None, None, "here", instance=instance, code_location_origin=origin)
        result = stream_sensor.stream_sensor(context, headrace=own)
        assert isinstance(result, dg.SensorResult)
        assert requested(result) == expected
        # the surplus run of slot 1 is told to end by its own code location alone
        assert ("Slot 1" in str(result.skip_reason)) is (location == "here")


def test_where_dagster_runs_a_stream_lag_starts_no_runs(own: Runtime, tenant: str, instance: dg.DagsterInstance) -> None:
    add(own, tenant)
    instance.add_dynamic_partitions("tenants", [tenant])
    publish(own, tenant, page="# Page\n\nIts text.")
    for count, expected in ((1, []), (0, [tenant])):
        with with_slots(own, count) as headrace:
            result = lag_sensor(dg.build_sensor_context(instance=instance), headrace=headrace)
        assert isinstance(result, dg.SensorResult)
        assert [request.partition_key for request in result.run_requests or []] == expected
        assert ("stream.slots is 1" in str(result.skip_reason)) is bool(count)


def test_the_check_can_be_asked_for_by_hand_too(own: Runtime, instance: dg.DagsterInstance) -> None:
    for _ in range(3):
        instance.report_run_failed(a_run(instance, 0))
    job = build({RESOURCE: own}).resolve_implicit_global_asset_job_def()
    key = dg.AssetCheckKey(dg.AssetKey("stream"), "stream_slots")
    result = job.get_subset(asset_selection=set(), asset_check_selection={key}).execute_in_process(instance=instance, run_config={})
    [evaluation] = result.get_asset_check_evaluations()
    assert not evaluation.passed
    assert evaluation.severity == dg.AssetCheckSeverity.ERROR
    assert "again and again" in str(evaluation.description)


def test_merging_parts_adds_up_and_keeps_what_the_last_one_waits_for() -> None:
    one = Part({"parse": report("t", done=2, latencies=[1.0])}, seconds=1.0)
    two = Part({"parse": report("t", done=3, unavailable="away"), "redact": report("t", "redact", failed=1)}, seconds=2.0)
    both = one.followed_by(two)
    assert (both.reports["parse"].done, both.reports["parse"].unavailable, both.reports["redact"].failed) == (5, "away", 1)
    assert (both.batches, both.seconds) == (2, 3.0)
