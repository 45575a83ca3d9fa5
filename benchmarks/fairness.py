"""Whether one tenant's flood is felt by others: it publishes 3,000 notes at once, and nine quiet tenants one every two seconds each.

One `headrace stream` process, warm, and source systems whose lines to Kafka are open. First the quiet tenants alone; then the flood alone,
at a tenant of its own; then the same flood at another tenant, with the quiet ones beside it. Every note is another text of some 250 bytes,
one passage. A latency runs from just before `Publisher.upsert` until a search showed the note. The reader searches every 50 ms for the
oldest that it has not seen, with a question embedded beforehand; during the flood that is alone it does so for a note that nobody
publishes, so that looking costs both floods alike. A flood's time runs from its first event until the last of it is indexed, seen to a
quarter of a second.

Keys:
  quiet_alone_p99_s         publish → searchable of the quiet tenants' notes, nobody else there
  quiet_flooded_p99_s       the same during the flood (goal: at most 2)
  ratio                     quiet_flooded_p99_s / quiet_alone_p99_s
  flood_events_per_s        the flood's throughput with the quiet tenants beside it
  flood_alone_events_per_s  its throughput alone
  flood_loss                1 - flood_events_per_s / flood_alone_events_per_s (goal: at most 0.1); work for the quiet tenants is in it
  quiet_alone_p50_s, quiet_flooded_p50_s
  quiet_alone_events, quiet_flooded_events
                            notes of the quiet tenants
  flood_events, note_bytes  of one flood, and the mean length of a note
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks import _world
from benchmarks._harness import Unmeasured, note, run
from benchmarks._pages import Pages, brief, mark
from benchmarks._stream import Event, Reader, Stream, latencies, number, percentile, publishing, streaming
from pipelines.app import Headrace

QUIET = [f"quiet-{n}" for n in range(1, 10)]
ALONE, BESIDE = "flood-alone", "flood"
NOTE_BODY_BYTES = 200
WARM_UP = 110
LOOK_EVERY_S = 0.05
LONGEST_S = 1_800.0


def measure(data: Path, flood: int, period: float, quiet_seconds: float) -> dict[str, Any]:
    from pipelines.governance import tenants

    pages, tenants_of_all = Pages(data), [*QUIET, ALONE, BESIDE]
    bodies = pages.take(flood, NOTE_BODY_BYTES)
    with ExitStack() as closing:
        headrace = closing.enter_context(_world.headrace())
        for tenant in tenants_of_all:
            tenants.add(headrace, tenant)
        reader = closing.enter_context(Reader(headrace, LOOK_EVERY_S))
        stream = closing.enter_context(streaming(headrace, tenants_of_all, pages.take(WARM_UP, NOTE_BODY_BYTES)))
        quiet = _Quiet(reader, closing.enter_context(publishing(headrace, QUIET)), bodies, period / len(QUIET))
        rounds = count()
        quiet.notes(lambda: next(rounds) >= len(QUIET))  # one each, not counted
        until = perf_counter() + quiet_seconds
        alone = quiet.notes(lambda: perf_counter() > until)
        undisturbed = _Flood(headrace, stream, ALONE, bodies)
        quiet.silence(undisturbed.over)
        disturbed = _Flood(headrace, stream, BESIDE, bodies)
        flooded = quiet.notes(disturbed.over)
    return {
        "quiet_alone_p99_s": percentile(alone, 0.99),
        "quiet_flooded_p99_s": percentile(flooded, 0.99),
        "ratio": percentile(flooded, 0.99) / percentile(alone, 0.99),
        "flood_events_per_s": disturbed.events_per_s,
        "flood_alone_events_per_s": undisturbed.events_per_s,
        "flood_loss": 1 - disturbed.events_per_s / undisturbed.events_per_s,
        "quiet_alone_p50_s": percentile(alone, 0.5),
        "quiet_flooded_p50_s": percentile(flooded, 0.5),
        "quiet_alone_events": len(alone),
        "quiet_flooded_events": len(flooded),
        "flood_events": flood,
        "note_bytes": round(sum(len(brief(0, body, mark(0))) for body in bodies) / flood),
    }


class _Flood:
    """Everything of one tenant at once. It begins when it is made; `over` says whether all of it is indexed."""

    def __init__(self, headrace: Headrace, stream: Stream, tenant: str, bodies: Sequence[list[str]]) -> None:
        self._headrace, self._stream, self._tenant = headrace, stream, tenant
        self._there = number(headrace, tenant, "indexed")
        self._events = len(bodies)
        self._told = self._there
        self._seconds: float | None = None
        self._began = perf_counter()
        with publishing(headrace, [tenant]) as publish:
            for n, body in enumerate(bodies):
                publish(Event(tenant, f"flood-{n}", 1, brief(n, body, mark(n))))
        note(f"{tenant}: published in {perf_counter() - self._began:.1f} s")

    def over(self) -> bool:
        self._stream.must_live()
        done, elapsed = number(self._headrace, self._tenant, "indexed") - self._there, perf_counter() - self._began
        if done // 500 != self._told // 500:
            note(f"{self._tenant}: {done} of {self._events} indexed after {elapsed:.1f} s")
        self._told = done
        if done >= self._events and self._seconds is None:
            self._seconds = elapsed
        if self._seconds is None and elapsed > LONGEST_S:
            raise Unmeasured(f"the flood was not over after {elapsed:.0f} s")
        return self._seconds is not None

    @property
    def events_per_s(self) -> float:
        return self._events / (self._seconds or LONGEST_S)


class _Quiet:
    """The quiet tenants, in turn: one note every so many seconds."""

    def __init__(self, reader: Reader, publish: Callable[[Event], None], bodies: Sequence[list[str]], every_s: float) -> None:
        self._reader, self._publish, self._bodies, self._every_s = reader, publish, bodies, every_s
        self._numbers = count()

    def notes(self, over: Callable[[], bool]) -> list[float]:
        """Publish until it is over, and then look for what is left. Gives the latency of each."""
        began, events = perf_counter(), list[Event]()
        while not over():
            events.append(self._next())
            self._publish(events[-1])
            self._reader.expect(events[-1])
            self._reader.look(began + len(events) * self._every_s - perf_counter())
        self._reader.look_for_all()
        return latencies(events)

    def silence(self, over: Callable[[], bool]) -> None:
        """Publish nothing until it is over, and look all the same."""
        self._reader.expect(Event(QUIET[0], "never", 1, "", mark(0)))
        while not over():
            self._reader.look(self._every_s)
        self._reader.forget()

    def _next(self) -> Event:
        n = next(self._numbers)
        return Event(QUIET[n % len(QUIET)], f"note-{n}", 1, brief(n, self._bodies[n % len(self._bodies)], mark(n)), mark(n))


def _options(parser: ArgumentParser) -> None:
    parser.add_argument("--flood", type=int, default=3_000, help="events of the flood (%(default)s)")
    parser.add_argument("--period", type=float, default=2.0, help="seconds between two notes of one quiet tenant (%(default)s)")
    parser.add_argument("--quiet-seconds", type=float, default=40.0, help="how long the quiet tenants are measured alone (%(default)s)")


if __name__ == "__main__":
    run(measure, __doc__, _options)
