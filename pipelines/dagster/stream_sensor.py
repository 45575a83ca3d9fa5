"""Keeps the stream alive: as many runs of the job `stream` as there are slots, and a check that fails if that does not succeed.

Dagster's records say which runs there are, the registry of slots (`pipelines.stream.slots`) whether their processes are at work. Runs whose
process is gone are ended by `pipelines.dagster.dead_runs`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from time import time
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.boundary import plain_failures
from assets.stream import STREAM
from core.backoff import backoff_s
from core.errors import HeadraceError
from pipelines.dagster.own_runs import location_tags, location_tags_of
from pipelines.dagster.stream_job import SLOT, name_of, stream_job

if TYPE_CHECKING:
    from pipelines.stream.slots import Slot
    from quality import Check

FIRST_PAUSE_S, LONGEST_PAUSE_S = 30.0, 900.0
STEADY_S = 600.0
"""A run that lived this long was healthy: its end does not count as one of several crashes in a row."""

SILENT_S, LOADING_S = 60.0, 900.0
"""A slot is silent if its process was not seen for `SILENT_S`; one that does not stream yet may be fetching its model for `LOADING_S`."""

SKEW_S = 10.0
"""Tolerated clock skew between Postgres and the run's host, in seconds."""

KEEPS_CRASHING = 3
AGAIN_S = 600.0
"""The check's result is reported when it changes, and again after this many seconds: every tick's would be thousands a day."""

_RECENT_RUNS = 8
_LIVE = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]


@dataclass(frozen=True)
class Place:
    """One slot as Dagster knows it: its live run, else how often in a row its runs died, and when the next may start (epoch seconds).

    `silent`: the run's process has not been seen for so long that it is gone, or hangs.
    """

    number: int
    live: bool
    silent: bool = False
    crashes: int = 0
    next_at: float = 0.0
    last_run: str = "first"

    @property
    def healthy(self) -> bool:
        """Alive and at work, or back within half a minute."""
        return not self.silent if self.live else self.crashes <= 1


def _description() -> str:
    return (
        "Keeps as many runs of the job `stream` alive as the setting `stream.slots` says; 0 means that no stream is run by Dagster. "
        "If a slot's run died, the next one starts after 30 s, then after twice as long each time, up to 15 minutes; "
        "a run that lived 10 minutes resets that. A run that was terminated by hand is followed by the next one at once: "
        "to end the stream, turn this sensor off first, or set `stream.slots` to 0. "
        "Reports the check `stream_slots` of the asset `stream` whenever its result changes."
    )


@dg.sensor(job_name=stream_job.name, minimum_interval_seconds=10, default_status=dg.DefaultSensorStatus.RUNNING, description=_description())
def stream_sensor(context: dg.SensorEvaluationContext, headrace: dg.ResourceParam[Any]) -> dg.SensorResult:
    wanted: int = headrace.settings.stream.slots
    location = location_tags(context)
    ended = list(_end_surplus(context.instance, location, wanted))
    try:
        seen = _seen(headrace) if wanted else {}
    except HeadraceError as error:
        # without Postgres no stream can land anything, and which slots are alive is not known
        return dg.SensorResult(skip_reason=str(error))
    places = _places(context.instance, location, wanted, seen)
    requests = [_request(place) for place in places if not place.live and place.next_at <= time()]
    evaluations, cursor = _alert(context.cursor, places, seen.values())
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else " ".join([*ended, *_summary(places)]),
        asset_events=evaluations,
        cursor=cursor,
    )


@dg.asset_check(
    asset=STREAM.key,
    name="stream_slots",
    description="Are as many slots alive as `stream.slots` says, and does none keep crashing? `stream_sensor` evaluates it every ten "
    "seconds and reports when the result changes, without any materialization. Informational; never blocks.",
)
def stream_slots(context: dg.AssetCheckExecutionContext, headrace: dg.ResourceParam[Any]) -> dg.AssetCheckResult:
    with plain_failures():
        seen = _seen(headrace)
        places = _places(context.instance, location_tags_of(context.run), headrace.settings.stream.slots, seen)
        return dg.AssetCheckResult(**_result(judge(places, seen.values()), places))


def judge(places: Sequence[Place], seen: "Iterable[Slot]") -> "Check":
    """Do all slots have a run, and does no stream, whoever started it, keep crashing?"""
    import quality
    from pipelines.stream.slots import crashing

    crashes = {name_of(str(place.number)): place.crashes for place in places if place.crashes >= KEEPS_CRASHING}
    return quality.stream_slots(len(places), sum(place.healthy for place in places), crashing(list(seen)) | crashes)


def pause_s(crashes: int) -> float:
    """Seconds between the last of `crashes` in a row and the next run."""
    return backoff_s(crashes, FIRST_PAUSE_S, LONGEST_PAUSE_S) if crashes else 0.0


def crashes_in_a_row(recent: Sequence[dg.RunRecord]) -> int:
    """How many runs of a slot, the newest first, ended badly before they had lived ten minutes."""
    return len(list(takewhile(_crashed_early, recent)))


def _seen(headrace: Any) -> "Mapping[str, Slot]":
    from pipelines.stream.slots import slots

    return {slot.slot: slot for slot in slots(headrace)}


def _places(instance: dg.DagsterInstance, location: Mapping[str, str], count: int, seen: "Mapping[str, Slot]") -> list[Place]:
    return [_place(instance, location, number, seen.get(name_of(str(number)))) for number in range(count)]


def _place(instance: dg.DagsterInstance, location: Mapping[str, str], number: int, seen: "Slot | None") -> Place:
    ours = dg.RunsFilter(job_name=stream_job.name, tags={SLOT: str(number), **location})
    recent = instance.get_run_records(ours, limit=_RECENT_RUNS)
    unfinished = [record for record in recent if not record.dagster_run.is_finished]
    if unfinished:
        return Place(number, live=True, silent=all(_is_silent(record, seen) for record in unfinished))
    crashes = crashes_in_a_row(recent)
    last = recent[0] if recent else None
    next_at = (last.end_time or last.create_timestamp.timestamp()) + pause_s(crashes) if last else 0.0
    return Place(number, live=False, crashes=crashes, next_at=next_at, last_run=last.dagster_run.run_id if last else "first")


def _is_silent(record: dg.RunRecord, seen: "Slot | None") -> bool:
    """Whether the process of a run that counts as started has not been seen for too long."""
    if record.dagster_run.status != dg.DagsterRunStatus.STARTED or record.start_time is None:
        return False
    if seen is None or seen.started_at.timestamp() < record.start_time - SKEW_S:
        return time() - record.start_time > LOADING_S
    streams = seen.seen_at > seen.started_at
    return seen.state == "lost" and seen.silent_s > (SILENT_S if streams else LOADING_S)


def _crashed_early(record: dg.RunRecord) -> bool:
    lived_s = (record.end_time or 0.0) - record.start_time if record.start_time else 0.0
    return record.dagster_run.status == dg.DagsterRunStatus.FAILURE and lived_s < STEADY_S


def _request(place: Place) -> dg.RunRequest:
    # the same key until another run exists: Dagster ignores a repeated request
    return dg.RunRequest(run_key=f"slot {place.number}:{place.last_run}", tags={SLOT: str(place.number)})


def _end_surplus(instance: dg.DagsterInstance, location: Mapping[str, str], wanted: int) -> Iterator[str]:
    """Terminate the runs of surplus slots; each finishes what is in flight."""
    for run in instance.get_runs(dg.RunsFilter(job_name=stream_job.name, statuses=_LIVE, tags=location)):
        slot = run.tags.get(SLOT, "")
        if slot.isdigit() and int(slot) >= wanted:
            try:
                instance.run_coordinator.cancel_run(run.run_id)
            except Exception as error:  # noqa: BLE001 whatever the launcher raises: the run reads in its own record that it has to end
                yield f"Slot {slot} could not be terminated: {type(error).__name__}."
            else:
                yield f"Slot {slot} is ended: {wanted} are wanted."


def _summary(places: Sequence[Place]) -> Iterator[str]:
    if not places:
        yield "No stream is run by Dagster: the setting stream.slots is 0."
        return
    yield f"{sum(place.live for place in places)} of {len(places)} slots have a run."
    for place in places:
        if place.silent:
            yield f"Slot {place.number} has a run, and its process has not been seen for a minute: it hangs, or is gone."
        if place.crashes:
            yield f"Slot {place.number} crashed {place.crashes} times in a row; the next run in {max(0.0, place.next_at - time()):.0f} s."


def _alert(cursor: str | None, places: Sequence[Place], seen: "Iterable[Slot]") -> tuple[list[Any], str | None]:
    """The check's evaluation if it has to be reported, and the cursor that remembers it.

    The sensor reports it, because an asset check is otherwise evaluated with a materialization or by hand only, and a dead stream
    materializes nothing: its alert would never come.
    """
    before = json.loads(cursor) if cursor else None
    if not places and before is None:
        return [], None
    found = judge(places, seen)
    if before and before["passed"] == found.passed and time() - before["at"] < AGAIN_S:
        return [], cursor
    evaluation = dg.AssetCheckEvaluation(STREAM.key, "stream_slots", **_result(found, places))
    return [evaluation], json.dumps({"passed": found.passed, "at": time()}) if places else ""


def _result(found: "Check", places: Sequence[Place]) -> dict[str, Any]:
    severity = dg.AssetCheckSeverity.ERROR if found.severity == "error" else dg.AssetCheckSeverity.WARN
    sentences = [*_summary(places), *([] if found.passed else [found.explanation])]
    metadata = {"findings": dg.MetadataValue.md(found.markdown()), **found.measured}
    return {"passed": found.passed, "severity": severity, "description": " ".join(sentences), "metadata": metadata}
