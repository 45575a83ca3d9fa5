"""The job `stream`: the stream as a long-lived Dagster run, one per slot. What keeps such runs alive is `pipelines.dagster.stream_sensor`.

Nothing heavy at the top: Dagster's processes import it.
"""

import os
import signal
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event as Flag
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.boundary import plain_failures

if TYPE_CHECKING:
    from pipelines.dagster.reporter import Reporter

SLOT = "headrace/slot"
"""The run tag with the number of the run's slot: 0 and up."""

REPORT_S, LOOK_S = 0.5, 10.0
ENDING = frozenset({dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.FAILURE})


@dg.op(
    out=dg.Out(dg.Nothing),
    description="Runs every tenant's events through the whole pipeline as they are published, until it is told to end: by Terminate, by "
    "SIGTERM, or because there are more slots than the setting `stream.slots`. Then it finishes what is in flight.",
)
def follow(context: dg.OpExecutionContext, headrace: dg.ResourceParam[Any]) -> None:
    from pipelines.dagster.reporter import Reporter
    from pipelines.stream import engine

    slot = context.run.tags.get(SLOT)

    def emit(event: Any) -> None:
        context.log_event(event)
        # it is in the event log; Dagster would keep each one in memory until the op ends, and this one does not
        deque(context.consume_events(), maxlen=0)

    with plain_failures():
        reporter = Reporter(headrace, emit, context.log.log, headrace.settings.stream.slots)
        with _reporting(context, reporter):
            totals = engine.run(headrace, observer=reporter, slot=name_of(slot) if slot else None)
    context.log.info("ended: %s", ", ".join(f"{count} {what}" for what, count in totals.items()) or "there was nothing to do")


@dg.job(
    name="stream",
    # the sensor restarts a dead run, with back-off: a retry would be a second stream in the same slot
    tags={"dagster/max_retries": "0"},
    description="The stream, one run per slot. `stream_sensor` starts and ends these runs as the setting `stream.slots` says; "
    "a terminated run finishes what is in flight, and the sensor starts the next one. "
    "A run that is launched by hand is one more member of the consumer group, in no slot.",
)
def stream_job() -> None:
    follow()


def name_of(slot: str) -> str:
    """The slot's name in the registry of slots, beside those of `headrace stream` processes."""
    return f"dagster-{slot}"


@contextmanager
def _reporting(context: dg.OpExecutionContext, reporter: "Reporter") -> Iterator[None]:
    """Report from a thread for as long as the stream runs, then what is left."""
    ended = Flag()
    thread = Thread(target=_report, args=(context, reporter, ended), name="reporter", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        reporter.finish()


def _report(context: dg.OpExecutionContext, reporter: "Reporter", ended: Flag) -> None:
    look_at = monotonic() + LOOK_S
    while not ended.wait(REPORT_S):
        reporter.report(monotonic())
        if monotonic() >= look_at:
            look_at = monotonic() + LOOK_S
            _end_if_terminated(context, ended)


def _end_if_terminated(context: dg.OpExecutionContext, ended: Flag) -> None:
    """End if the run's record says so: the process that would pass a termination on may have been replaced, or be gone."""
    try:
        run = context.instance.get_run_by_id(context.run_id)
    except Exception:  # noqa: BLE001 the records may be unavailable, as any server
        return
    if (run is None or run.status in ENDING) and not ended.is_set():
        os.kill(os.getpid(), signal.SIGTERM)
