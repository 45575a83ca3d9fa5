"""What keeps the stream alive: as many runs of the job `stream` as there are slots, and a check that fails where that cannot be had.

Dagster's records say which runs there are, the registry of slots (`pipelines.stream.slots`) whether their processes still give a sign of
life.
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
from core.errors import HeadraceError
from pipelines.dagster.stream_job import SLOT, name_of, stream_job

if TYPE_CHECKING:
    from pipelines.stream.slots import Slot
    from quality import Check

FIRST_PAUSE_S, LONGEST_PAUSE_S = 30.0, 900.0
STEADY_S = 600.0
"""A run that lived so long was well: what ended it is no row of deaths."""

SILENT_S, LOADING_S = 60.0, 900.0
"""A run is dead whose process is not seen any more for so long; one that has not begun to stream may be fetching its model, for so long."""

SKEW_S = 10.0
"""Postgres' clock, by which slots are seen, and that of the run's host may differ."""

KEEPS_DYING = 3
AGAIN_S = 600.0
"""The check's result is told when it changes, and again after so long: every tick's would be thousands a day."""

_RECENT_RUNS = 8
_LIVE = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]


@dataclass(frozen=True)
class Place:
    """One slot as Dagster knows it: its live run, else how often in a row its runs died, and when the next may start (epoch seconds)."""

    number: int
    live: bool
    deaths: int = 0
    next_at: float = 0.0
    last_run: str = "first"

    @property
    def well(self) -> bool:
        """Alive, or back within half a minute."""
        return self.live or self.deaths <= 1


def _description() -> str:
    return (
        "Keeps as many runs of the job `stream` alive as the setting `stream.slots` says; 0 means that no stream is run by Dagster. "
        "Where a slot's run died, the next one starts after 30 s, then after twice as long each time, 15 minutes at most; "
        "a run that lived 10 minutes begins anew. A run that somebody terminated is followed by the next one at once: "
        "to end the stream, turn this sensor off first, or set `stream.slots` to 0. "
        "Tells the check `stream_slots` of the asset `stream` whenever its result changes."
    )


@dg.sensor(job_name=stream_job.name, minimum_interval_seconds=10, default_status=dg.DefaultSensorStatus.RUNNING, description=_description())
def stream_sensor(context: dg.SensorEvaluationContext, headrace: dg.ResourceParam[Any]) -> dg.SensorResult:
    wanted: int = headrace.settings.stream.slots
    ended = list(_end_surplus(context.instance, wanted))
    try:
        seen = _seen(headrace) if wanted else {}
    except HeadraceError as error:
        # without Postgres there is nothing to stream into, and no telling who is alive
        return dg.SensorResult(skip_reason=str(error))
    places = [_place(context.instance, number, seen.get(name_of(str(number)))) for number in range(wanted)]
    requests = [_request(place) for place in places if not place.live and place.next_at <= time()]
    evaluations, cursor = _alert(context.cursor, places, seen.values())
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else " ".join([*ended, *_standing(places)]),
        asset_events=evaluations,
        cursor=cursor,
    )


@dg.asset_check(
    asset=STREAM.key,
    name="stream_slots",
    description="Are as many slots alive as `stream.slots` says, and does none keep dying? `stream_sensor` evaluates it every ten seconds "
    "and tells when the result changes: nobody has to materialize anything for it to fail. It stops nothing.",
)
def stream_slots(context: dg.AssetCheckExecutionContext, headrace: dg.ResourceParam[Any]) -> dg.AssetCheckResult:
    with plain_failures():
        seen = _seen(headrace)
        places = [_place(context.instance, number, seen.get(name_of(str(number)))) for number in range(headrace.settings.stream.slots)]
        return dg.AssetCheckResult(**_result(judge(places, seen.values()), places))


def judge(places: Sequence[Place], seen: "Iterable[Slot]") -> "Check":
    """Are all places filled, and does none of these streams, whoever started it, keep dying?"""
    import quality
    from pipelines.stream.slots import dying

    deaths = {name_of(str(place.number)): place.deaths for place in places if place.deaths >= KEEPS_DYING}
    return quality.stream_slots(len(places), sum(place.well for place in places), dying(list(seen)) | deaths)


def pause_s(deaths: int) -> float:
    """How long after the last of so many deaths in a row the next run may start."""
    return min(FIRST_PAUSE_S * 2.0 ** (deaths - 1), LONGEST_PAUSE_S) if deaths else 0.0


def deaths_in_a_row(recent: Sequence[dg.RunRecord]) -> int:
    """How many runs of a slot, the newest first, ended badly before they had lived ten minutes."""
    return len(list(takewhile(_died_young, recent)))


def _seen(headrace: Any) -> "Mapping[str, Slot]":
    from pipelines.stream.slots import slots

    return {slot.slot: slot for slot in slots(headrace)}


def _place(instance: dg.DagsterInstance, number: int, seen: "Slot | None") -> Place:
    recent = instance.get_run_records(dg.RunsFilter(job_name=stream_job.name, tags={SLOT: str(number)}), limit=_RECENT_RUNS)
    unfinished = [record for record in recent if not record.dagster_run.is_finished]
    dead = [record for record in unfinished if _is_dead(record, seen)]
    for record in dead:
        instance.report_run_failed(
            record.dagster_run, "The process of this run gives no sign of life any more: it was not seen for a minute."
        )
    if len(unfinished) > len(dead):
        return Place(number, live=True)
    if dead:
        return _place(instance, number, None)
    deaths = deaths_in_a_row(recent)
    last = recent[0] if recent else None
    next_at = (last.end_time or last.create_timestamp.timestamp()) + pause_s(deaths) if last else 0.0
    return Place(number, live=False, deaths=deaths, next_at=next_at, last_run=last.dagster_run.run_id if last else "first")


def _is_dead(record: dg.RunRecord, seen: "Slot | None") -> bool:
    """Whether the process behind a run that counts as started is gone.

    Dagster's code server notices a run process of its own that dies. Where that server died too, with its container or its host,
    nobody does: its launcher cannot be asked (run monitoring knows only runs that never start, or never end when told to).
    """
    if record.dagster_run.status != dg.DagsterRunStatus.STARTED or record.start_time is None:
        return False
    if seen is None or seen.started_at.timestamp() < record.start_time - SKEW_S:
        return time() - record.start_time > LOADING_S
    streams = seen.seen_at > seen.started_at
    return seen.state == "lost" and seen.silent_s > (SILENT_S if streams else LOADING_S)


def _died_young(record: dg.RunRecord) -> bool:
    lived_s = (record.end_time or 0.0) - record.start_time if record.start_time else 0.0
    return record.dagster_run.status == dg.DagsterRunStatus.FAILURE and lived_s < STEADY_S


def _request(place: Place) -> dg.RunRequest:
    # until another run has been, asking again is the same request
    return dg.RunRequest(run_key=f"slot {place.number}:{place.last_run}", tags={SLOT: str(place.number)})


def _end_surplus(instance: dg.DagsterInstance, wanted: int) -> Iterator[str]:
    """Terminate the runs of slots that there are no more; each finishes what it has in hand."""
    for run in instance.get_runs(dg.RunsFilter(job_name=stream_job.name, statuses=_LIVE)):
        slot = run.tags.get(SLOT, "")
        if slot.isdigit() and int(slot) >= wanted:
            try:
                instance.run_coordinator.cancel_run(run.run_id)
            except Exception as error:  # noqa: BLE001 whatever the launcher raises: the run reads in its record that it shall end
                yield f"Slot {slot} could not be told to end: {type(error).__name__}."
            else:
                yield f"Slot {slot} is ended: {wanted} are wanted."


def _standing(places: Sequence[Place]) -> Iterator[str]:
    if not places:
        yield "No stream is run by Dagster: the setting stream.slots is 0."
        return
    yield f"{sum(place.live for place in places)} of {len(places)} slots have a run."
    for place in places:
        if place.deaths:
            yield f"Slot {place.number} died {place.deaths} times in a row; the next run in {max(0.0, place.next_at - time()):.0f} s."


def _alert(cursor: str | None, places: Sequence[Place], seen: "Iterable[Slot]") -> tuple[list[Any], str | None]:
    """The check's evaluation where it has to be told, and the cursor that remembers it.

    By the sensor, because an asset check is otherwise evaluated only with a materialization or by hand, and a stream that is dead
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
    said = [*_standing(places), *([] if found.passed else [found.explanation])]
    told = {"findings": dg.MetadataValue.md(found.markdown()), **found.measured}
    return {"passed": found.passed, "severity": severity, "description": " ".join(said), "metadata": told}
