"""Ends runs whose process is gone, so that they hold no tenant, no slot and no place in a pool.

Dagster's run monitoring fails runs that never start, and ends those that do not end when told to. With Dagster's default launcher nobody
looks after a run that has started: if its container or its host is gone, it stays STARTED, and its tenant's next run never comes.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from time import time
from typing import Any

import dagster as dg

from core.errors import Unavailable
from pipelines.dagster.own_runs import is_ours, location_tags
from pipelines.dagster.run_process import key_of

GONE_S = 60.0
"""A process that was present is gone when it is absent for this long: cut off by a restart of Postgres, it is back within seconds."""

START_S = 600.0
"""A run to which no process comes is given up after this long, or after the instance's own start timeout if that is longer."""

LONGEST_STEP_S = 30.0
"""The most that one evaluation adds to an absence, in seconds: between two evaluations the whole machine may have been suspended."""

ACTIVE = (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)
"""Runs that have a process, or should be getting one. A queued run has none yet, and waits for as long as other runs take."""

NEXT = "What its stages had committed stays; the next run goes on from there."


@dataclass(frozen=True)
class Absence:
    """A run's process is absent: the run's status and the process's key (None: none has come), and for how many seconds."""

    status: str
    process: int | None
    seconds: float = 0.0


Absences = Mapping[str, Absence]
"""By run id: what the sensor's cursor remembers."""


@dg.sensor(
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Ends runs of Headrace whose process is gone, with its container or its host. The process of a run is present in Postgres "
    "while it lives, however slow it is. A run whose process is absent for a minute is failed, or cancelled if it was told to end, and its "
    "places in pools are freed. A run to which no process comes within the start timeout is failed. Runs of other code locations are left "
    "alone.",
)
def dead_run_sensor(context: dg.SensorEvaluationContext, headrace: dg.ResourceParam[Any]) -> dg.SensorResult:
    runs = _unfinished(context.instance, location_tags(context))
    try:
        living = headrace.database.living() if runs else set()
    except Unavailable as error:
        # which processes live is not known: absences neither grow nor end
        return dg.SensorResult(skip_reason=str(error), cursor=context.cursor)
    now, start_s = time(), max(START_S, _start_timeout_s(context.instance))
    at, before = _remembered(context.cursor)
    absent = absences(runs, living, before, now - at)
    ended = [_end(context.instance, run) for run in runs if run.run_id in absent and is_dead(absent[run.run_id], start_s)]
    for sentence in ended:
        context.log.warning(sentence)
    state = f"Unfinished runs: {len(runs)}; without a living process: {len(absent)}."
    return dg.SensorResult(skip_reason=" ".join(ended) or state, cursor=_cursor(now, absent))


def absences(runs: Sequence[dg.DagsterRun], living: Collection[int], before: Absences, elapsed_s: float) -> Absences:
    """The runs without a living process, now; `elapsed_s` after those that were `before`. A run that has moved on begins again."""
    found: dict[str, Absence] = {}
    for run in runs:
        process, known = key_of(run), before.get(run.run_id)
        if process is None or process not in living:
            same = known and (known.status, known.process) == (run.status.value, process)
            seconds = known.seconds + min(max(elapsed_s, 0.0), LONGEST_STEP_S) if known and same else 0.0
            found[run.run_id] = Absence(run.status.value, process, seconds)
    return found


def is_dead(absence: Absence, start_s: float) -> bool:
    """Whether a run whose process is absent is to be ended: its process is gone, or none came within `start_s`."""
    return absence.seconds >= (start_s if absence.process is None else GONE_S)


def _unfinished(instance: dg.DagsterInstance, tags: Mapping[str, str]) -> list[dg.DagsterRun]:
    """Our active runs; the queued ones too where nothing dequeues them."""
    from dagster._core.run_coordinator import QueuedRunCoordinator

    queue = isinstance(instance.run_coordinator, QueuedRunCoordinator)
    statuses = [*ACTIVE, *([] if queue else [dg.DagsterRunStatus.QUEUED])]
    return [run for run in instance.get_runs(dg.RunsFilter(statuses=statuses, tags=tags)) if is_ours(run)]


def _start_timeout_s(instance: dg.DagsterInstance) -> float:
    return float(instance.run_monitoring_start_timeout_seconds) if instance.run_monitoring_enabled else 0.0


def _end(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """End a dead run, unless something has happened to it meanwhile. Returns a sentence for people."""
    now = instance.get_run_by_id(run.run_id)
    if now is None or (now.status, key_of(now)) != (run.status, key_of(run)):
        return f"Run {run.run_id} has moved on."
    gone = "its process is gone" if key_of(run) else "no process came to work on it"
    if instance.event_log_storage.supports_global_concurrency_limits:
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    message = f"Headrace ended this run: {gone}. {NEXT}"
    if run.status == dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, message)
    else:
        instance.report_run_failed(run, message)
    tenant = run.tags.get("dagster/partition")
    return f"Run {run.run_id} of {run.job_name}{f' for {tenant}' if tenant else ''} was ended: {gone}."


def _remembered(cursor: str | None) -> tuple[float, Absences]:
    """When the sensor last looked, in epoch seconds, and what it saw."""
    found: dict[str, Any] = json.loads(cursor) if cursor else {"at": 0.0, "absent": {}}
    return found["at"], {run: Absence(**absence) for run, absence in found["absent"].items()}


def _cursor(now: float, absent: Absences) -> str:
    return json.dumps({"at": now, "absent": {run: asdict(absence) for run, absence in absent.items()}})
