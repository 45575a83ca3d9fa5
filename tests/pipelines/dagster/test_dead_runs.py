"""A run whose process is gone is ended, so that its tenant's next one may come; a run whose process lives never is, however slow it is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep, time

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from hypothesis import given
from hypothesis import strategies as st

from assets import stages
from assets.runtime import RESOURCE
from core.config import Settings
from core.tenancy import Database
from pipelines.dagster import dead_runs, run_process
from pipelines.dagster.dead_runs import GONE_S, LONGEST_STEP_S, Absence, absences, dead_run_sensor, is_dead
from pipelines.dagster.own_runs import REPOSITORY, is_ours, location_tags
from pipelines.dagster.run_process import PROCESS, key_of, present
from pipelines.dagster.runtime import Runtime
from pipelines.dagster.sensors import lag_sensor
from pipelines.definitions import build
from tests.tenant_fixture import publish

PATIENCE_S = 60.0
Status = dg.DagsterRunStatus
HERE = RegisteredCodeLocationOrigin("here")

RUN = """
import sys, time
from pathlib import Path
import dagster as dg
from pipelines.definitions import headrace_resource

@dg.op
def work(headrace: dg.ResourceParam[object]) -> None:
    Path(sys.argv[2]).touch()
    time.sleep(600)

@dg.job(name="ingest_tenant", resource_defs={"headrace": headrace_resource})
def ingest() -> None:
    work()

ingest.execute_in_process(instance=dg.DagsterInstance.get(), tags={"dagster/partition": sys.argv[1]})
"""
"""A process that executes a run of a job of ours, and works until it is killed."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("dagster")
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n", encoding="utf-8")
    return home


@pytest.fixture(scope="module")
def records(home: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(home)) as persistent:
        yield persistent


@pytest.fixture
def instance(records: dg.DagsterInstance) -> dg.DagsterInstance:
    """An instance without runs, which another process may open too."""
    records.wipe()
    return records


class Ticks:
    """The sensor with its cursor, tick after tick."""

    def __init__(self, app: Runtime, instance: dg.DagsterInstance) -> None:
        self.app, self.instance = app, instance
        self.cursor: str | None = None

    def tick(self, later_s: float = 0.0, app: Runtime | None = None) -> str:
        """One tick, that much later than the last one, by the sensor's memory. Returns what it says."""
        if self.cursor:
            before = json.loads(self.cursor)
            self.cursor = json.dumps({**before, "at": before["at"] - later_s})
        result = dead_run_sensor(dg.build_sensor_context(instance=self.instance, cursor=self.cursor), headrace=app or self.app)
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        return str(result.skip_reason)

    def ticks(self, seconds: float) -> list[str]:
        """Ticks, as often as the daemon makes them, until so much time has passed, and one more."""
        return [self.tick(15) for _ in range(int(seconds // 15) + 2)]

    def status(self, run: dg.DagsterRun | str) -> Status:
        found = self.instance.get_run_by_id(run if isinstance(run, str) else run.run_id)
        assert found
        return found.status


@pytest.fixture
def ticks(app: Runtime, instance: dg.DagsterInstance) -> Ticks:
    return Ticks(app, instance)


@pytest.fixture
def working(
    settings: Settings, app: Runtime, acme: str, home: Path, instance: dg.DagsterInstance, tmp_path: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A process with a run of acme's, at work."""
    started = tmp_path / "started"
    environment = {**os.environ, "DAGSTER_HOME": str(home), "HEADRACE_DATA_DIR": str(settings.data_dir)}
    with subprocess.Popen([sys.executable, "-c", RUN, acme, str(started)], env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            eventually(lambda: started.exists() or process.poll() is not None)
            assert started.exists()
            yield process
        finally:
            process.kill()


def eventually(seen: Callable[[], object]) -> None:
    until = monotonic() + PATIENCE_S
    while not seen():
        assert monotonic() < until
        sleep(0.05)


def made(
    instance: dg.DagsterInstance, status: Status, job: str = "ingest_tenant", tags: dict[str, str] | None = None, location: str = "here"
) -> dg.DagsterRun:
    """A run of that status, as its launcher or its process left it."""

    @dg.op
    def nothing() -> None: ...

    @dg.job(name=job)
    def left() -> None:
        nothing()

    origin = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), "__repository__"), job)
    return instance.create_run_for_job(left, status=status, tags=tags, remote_job_origin=origin)


def processed(instance: dg.DagsterInstance, run: dg.DagsterRun, key: int) -> None:
    """The run's process had this key."""
    instance.add_run_tags(run.run_id, {PROCESS: f"{run.run_id}:{key}"})


def test_a_run_whose_process_was_killed_is_ended_and_its_tenants_next_run_comes(
    working: subprocess.Popen[bytes], ticks: Ticks, app: Runtime, acme: str, instance: dg.DagsterInstance
) -> None:
    instance.add_dynamic_partitions("tenants", [acme])
    publish(app, acme, page_md="# Page\n\nIts text.")
    (run,) = instance.get_runs()
    # a live process, and one that is stopped, as one that is slow seems to others
    ticks.ticks(10 * GONE_S)
    working.send_signal(signal.SIGSTOP)
    ticks.ticks(10 * GONE_S)
    working.send_signal(signal.SIGCONT)
    assert ticks.status(run) == Status.STARTED
    assert "a run is under way" in str(lag(app, instance).skip_reason)

    working.kill()
    working.wait(PATIENCE_S)
    key = key_of(instance.get_runs()[0])
    # the server learns of it from the socket
    eventually(lambda: key not in app.database.living())
    ticks.tick(15)
    assert ticks.status(run) == Status.STARTED
    said = ticks.ticks(GONE_S)
    assert any(run.run_id in sentence and acme in sentence for sentence in said)
    assert ticks.status(run) == Status.FAILURE
    (ended,) = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert "its process is gone" in ended.message
    (request,) = lag(app, instance).run_requests or []
    assert request.partition_key == acme


def lag(app: Runtime, instance: dg.DagsterInstance) -> dg.SensorResult:
    result = lag_sensor(dg.build_sensor_context(instance=instance), headrace=app)
    assert isinstance(result, dg.SensorResult)
    return result


def test_a_process_that_lost_its_session_is_present_again(
    app: Runtime, ticks: Ticks, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_process, "EVERY_S", 0.1)
    run = made(instance, Status.STARTED)
    with Database(app.endpoints.postgres_pipeline.get_secret_value()) as database:
        with present(database, instance, run.run_id):
            found = instance.get_run_by_id(run.run_id)
            key = found and key_of(found)
            assert key in app.database.living()
            ticks.tick()
            for _ in range(3):
                cut(app, key or 0)
                eventually(lambda: key in app.database.living())
                ticks.tick(15)
            assert ticks.status(run) == Status.STARTED
        assert key in app.database.living(), "until the process ends, or closes its connections"
    eventually(lambda: key not in app.database.living())


def cut(app: Runtime, key: int) -> None:
    """End the session that holds this key, as a restart of Postgres does."""
    with app.database.control() as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks"
            " WHERE locktype = 'advisory' AND (classid::bigint << 32) | objid::bigint = %(key)s",
            {"key": key},
        )


def test_a_process_whose_records_are_away_works_on_and_is_known_later(
    app: Runtime, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_process, "EVERY_S", 0.1)
    # a run that does not exist is one whose record cannot be written
    run = dg.DagsterRun("ingest_tenant")
    with present(app.database, instance, run.run_id):
        instance.add_run(run)
        eventually(lambda: key_of(instance.get_runs()[0]) == app.database.presence())


@pytest.mark.parametrize(
    ("status", "came", "after_s", "end"),
    [
        (Status.STARTED, True, GONE_S, Status.FAILURE),
        (Status.STARTING, True, GONE_S, Status.FAILURE),
        (Status.CANCELING, True, GONE_S, Status.CANCELED),
        (Status.STARTED, False, 600.0, Status.FAILURE),
        (Status.STARTING, False, 600.0, Status.FAILURE),
        (Status.NOT_STARTED, False, 600.0, Status.FAILURE),
        (Status.CANCELING, False, 600.0, Status.CANCELED),
    ],
)
def test_each_state_has_its_end_and_not_before_its_time(
    ticks: Ticks, instance: dg.DagsterInstance, status: Status, came: bool, after_s: float, end: Status
) -> None:
    run = made(instance, status)
    if came:
        processed(instance, run, 1)
    ticks.tick()
    for _ in range(int(after_s // 15) - 1):
        ticks.tick(15)
    assert ticks.status(run) == status
    ticks.tick(15)
    assert ticks.status(run) == end
    assert "Unfinished runs: 0" in ticks.tick(15)


@pytest.mark.parametrize(("coordinator", "end"), [("QueuedRunCoordinator", Status.QUEUED), ("DefaultRunCoordinator", Status.FAILURE)])
def test_a_queued_run_waits_for_as_long_as_it_takes_where_there_is_a_queue(
    app: Runtime, tmp_path: Path, coordinator: str, end: Status
) -> None:
    queue = {"run_coordinator": {"module": "dagster._core.run_coordinator", "class": coordinator}, "telemetry": {"enabled": False}}
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=queue) as instance:
        run, ticks = made(instance, Status.QUEUED), Ticks(app, instance)
        ticks.ticks(700)
        assert ticks.status(run) == end


def test_the_instances_own_start_timeout_counts_if_it_is_longer(app: Runtime, tmp_path: Path) -> None:
    monitoring = {"run_monitoring": {"enabled": True, "start_timeout_seconds": 1200}, "telemetry": {"enabled": False}}
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=monitoring) as instance:
        run, ticks = made(instance, Status.STARTING), Ticks(app, instance)
        ticks.ticks(1000)
        assert ticks.status(run) == Status.STARTING
        ticks.ticks(200)
        assert ticks.status(run) == Status.FAILURE


def test_a_dead_run_frees_its_places_in_pools(ticks: Ticks, instance: dg.DagsterInstance) -> None:
    places, run = instance.event_log_storage, made(instance, Status.STARTED)
    processed(instance, run, 1)
    places.set_concurrency_slots(stages.EMBEDDER, 1)
    assert places.claim_concurrency_slot(stages.EMBEDDER, run.run_id, "embeddings").is_claimed
    ticks.ticks(GONE_S)
    assert places.get_concurrency_info(stages.EMBEDDER).active_slot_count == 0


def test_a_run_that_executes_a_dead_one_again_has_a_process_of_its_own(ticks: Ticks, instance: dg.DagsterInstance) -> None:
    dead = made(instance, Status.STARTED)
    processed(instance, dead, 1)
    found = instance.get_run_by_id(dead.run_id)
    again = made(instance, Status.STARTING, tags=dict(found.tags) if found else {})
    ticks.ticks(GONE_S)
    assert (ticks.status(dead), ticks.status(again)) == (Status.FAILURE, Status.STARTING)


def test_without_postgres_nothing_is_ended_and_nothing_forgotten(ticks: Ticks, app: Runtime, instance: dg.DagsterInstance) -> None:
    run = made(instance, Status.STARTED)
    processed(instance, run, 1)
    ticks.tick()
    ticks.tick(15)
    before = ticks.cursor
    with Runtime(app.settings, app.endpoints) as ended:
        ended.tenants()
    assert "Postgres" in ticks.tick(0, ended)
    assert (ticks.cursor, ticks.status(run)) == (before, Status.STARTED)


# whose runs


def test_runs_of_others_are_left_alone(app: Runtime, instance: dg.DagsterInstance) -> None:
    others = [
        made(instance, Status.STARTED, job="somebody_elses"),
        made(instance, Status.STARTED, location="elsewhere"),
    ]
    processed(instance, others[1], 1)
    ours = made(instance, Status.STARTED)
    processed(instance, ours, 1)
    cursor: str | None = None
    for _ in range(60):
        at = json.loads(cursor)["at"] - 30 if cursor else 0.0
        cursor = cursor and json.dumps({**json.loads(cursor), "at": at})
        context = dg.SensorEvaluationContext(
            None, None, None, cursor, None, "__repository__", instance=instance, sensor_name="dead_run_sensor", code_location_origin=HERE
        )
        assert location_tags(context) == {REPOSITORY: "__repository__@here"}
        with context:
            result = dead_run_sensor(context, headrace=app)
        assert isinstance(result, dg.SensorResult)
        cursor = result.cursor
    found = {run.run_id: run.status for run in instance.get_runs()}
    assert found == {others[0].run_id: Status.STARTED, others[1].run_id: Status.STARTED, ours.run_id: Status.FAILURE}


def test_what_materializes_and_checks_nothing_but_our_assets_is_ours() -> None:
    def run(*keys: str, checks: tuple[str, ...] = ()) -> dg.DagsterRun:
        chosen = frozenset(dg.AssetCheckKey(dg.AssetKey(key), "check") for key in checks)
        return dg.DagsterRun("__ASSET_JOB", asset_selection=frozenset(map(dg.AssetKey, keys)) or None, asset_check_selection=chosen or None)

    assert is_ours(run("document_events", "chunks"))
    assert is_ours(run("chunks", checks=("chunks",)))
    assert is_ours(run(checks=("stream",)))
    assert not is_ours(run("chunks", "reports"))
    assert not is_ours(run(checks=("reports",)))
    assert not is_ours(run())


def test_every_asset_job_and_check_of_ours_uses_the_resource_that_makes_its_process_known() -> None:
    repository = build().get_repository_def()
    for job in repository.get_all_jobs():
        for node in job.graph.iterate_op_defs():
            assert RESOURCE in node.required_resource_keys, (job.name, node.name)


# the decision alone

LOOKS = st.lists(st.tuples(st.booleans(), st.floats(-10, 4000)), min_size=1, max_size=40)


@given(LOOKS, st.sampled_from([Status.STARTED, Status.STARTING, Status.CANCELING]), st.booleans())
def test_a_process_is_gone_only_if_it_was_absent_at_every_look_for_long_enough(
    looks: list[tuple[bool, float]], status: Status, came: bool
) -> None:
    run = dg.DagsterRun("ingest_tenant", status=status)
    run = run.with_tags({PROCESS: f"{run.run_id}:7"}) if came else run
    limit_s, before, absent_s = GONE_S if came else dead_runs.START_S, dict[str, Absence](), None
    for alive, elapsed_s in looks:
        before = dict(absences([run], {7} if alive else {8}, before, elapsed_s))
        if alive and came:
            absent_s = None
            assert before == {}
            continue
        absent_s = 0.0 if absent_s is None else absent_s + min(max(elapsed_s, 0.0), LONGEST_STEP_S)
        assert is_dead(before[run.run_id], dead_runs.START_S) == (absent_s >= limit_s)


@given(st.sampled_from([Status.STARTED, Status.STARTING]), st.floats(0, 10_000))
def test_a_run_that_has_moved_on_begins_again(status: Status, seconds: float) -> None:
    run = dg.DagsterRun("ingest_tenant", status=Status.CANCELING)
    found = absences([run], set(), {run.run_id: Absence(status.value, None, seconds)}, 15.0)
    assert found[run.run_id].seconds == 0.0


def test_the_first_look_ends_nobody_whatever_the_clock_says(ticks: Ticks, instance: dg.DagsterInstance) -> None:
    run = made(instance, Status.STARTED)
    processed(instance, run, 1)
    ticks.tick()
    ticks.tick(100_000)
    assert ticks.status(run) == Status.STARTED
    assert json.loads(ticks.cursor or "")["at"] <= time()
