"""Whether one tenant's flood slows others down: one publishes 3,000 notes at once, nine quiet ones a note every two seconds each.

There is one `headrace stream` process, warm, and the publishers' connections to Kafka are open. Three runs: the quiet tenants alone; the
flood alone, for one tenant; the same flood for another tenant, together with the quiet ones. Each note is a different text of about 250
bytes, one passage. A latency is the time from just before `Publisher.upsert` until a search returned the note. The reader searches every
50 ms for the oldest note it has not found, with a question embedded in advance. During the flood alone it searches for a note that is never
published, so that the searches cost the same in both floods. A flood's time is from its first event until its last one is indexed, with a
resolution of a quarter of a second.

Keys:
  quiet_alone_p99_s         publish → searchable, of the quiet tenants' notes without the flood
  quiet_flooded_p99_s       the same during the flood (goal: at most 2)
  ratio                     quiet_flooded_p99_s / quiet_alone_p99_s
  flood_events_per_s        the flood's throughput together with the quiet tenants
  flood_alone_events_per_s  the flood's throughput alone
  flood_loss                1 - flood_events_per_s / flood_alone_events_per_s (goal: at most 0.1), including the quiet tenants' work
  quiet_alone_p50_s, quiet_flooded_p50_s
  quiet_alone_events, quiet_flooded_events
                            notes of the quiet tenants
  flood_events, note_bytes  events of one flood, and the mean length of a note
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
from benchmarks._stream import Event, Reader, Stream, latencies, percentile, publishing, read_count, streaming
from pipelines.app import Headrace

QUIET = [f"quiet-{n}" for n in range(1, 10)]
ALONE, TOGETHER = "flood-alone", "flood"
NOTE_BODY_BYTES = 200
WARM_UP = 110
SEARCH_EVERY_S = 0.05
TIMEOUT_S = 1_800.0


def measure(data: Path, flood: int, period: float, quiet_seconds: float) -> dict[str, Any]:
    from pipelines.governance import tenants

    pages, tenants_of_all = Pages(data), [*QUIET, ALONE, TOGETHER]
    bodies = pages.take(flood, NOTE_BODY_BYTES)
    with ExitStack() as closing:
        headrace = closing.enter_context(_world.headrace())
        for tenant in tenants_of_all:
            tenants.add(headrace, tenant)
        reader = closing.enter_context(Reader(headrace, SEARCH_EVERY_S))
        stream = closing.enter_context(streaming(headrace, tenants_of_all, pages.take(WARM_UP, NOTE_BODY_BYTES)))
        quiet = _Quiet(reader, closing.enter_context(publishing(headrace, QUIET)), bodies, period / len(QUIET))
        rounds = count()
        quiet.publish_notes(lambda: next(rounds) >= len(QUIET))  # one each, not counted
        until = perf_counter() + quiet_seconds
        alone = quiet.publish_notes(lambda: perf_counter() > until)
        flood_alone = _Flood(headrace, stream, ALONE, bodies)
        quiet.only_search(flood_alone.is_over)
        flood_together = _Flood(headrace, stream, TOGETHER, bodies)
        flooded = quiet.publish_notes(flood_together.is_over)
    return {
        "quiet_alone_p99_s": percentile(alone, 0.99),
        "quiet_flooded_p99_s": percentile(flooded, 0.99),
        "ratio": percentile(flooded, 0.99) / percentile(alone, 0.99),
        "flood_events_per_s": flood_together.events_per_s,
        "flood_alone_events_per_s": flood_alone.events_per_s,
        "flood_loss": 1 - flood_together.events_per_s / flood_alone.events_per_s,
        "quiet_alone_p50_s": percentile(alone, 0.5),
        "quiet_flooded_p50_s": percentile(flooded, 0.5),
        "quiet_alone_events": len(alone),
        "quiet_flooded_events": len(flooded),
        "flood_events": flood,
        "note_bytes": round(sum(len(brief(0, body, mark(0))) for body in bodies) / flood),
    }


class _Flood:
    """Many events of one tenant at once. Constructing it publishes them; `is_over` checks whether all are indexed."""

    def __init__(self, headrace: Headrace, stream: Stream, tenant: str, bodies: Sequence[list[str]]) -> None:
        self._headrace, self._stream, self._tenant = headrace, stream, tenant
        self._before = read_count(headrace, tenant, "indexed")
        self._events = len(bodies)
        self._reported = self._before
        self._seconds: float | None = None
        self._began = perf_counter()
        with publishing(headrace, [tenant]) as publish:
            for n, body in enumerate(bodies):
                publish(Event(tenant, f"flood-{n}", 1, brief(n, body, mark(n))))
        note(f"{tenant}: published in {perf_counter() - self._began:.1f} s")

    def is_over(self) -> bool:
        self._stream.check_running()
        done, elapsed = read_count(self._headrace, self._tenant, "indexed") - self._before, perf_counter() - self._began
        if done // 500 != self._reported // 500:
            note(f"{self._tenant}: {done} of {self._events} indexed after {elapsed:.1f} s")
        self._reported = done
        if done >= self._events and self._seconds is None:
            self._seconds = elapsed
        if self._seconds is None and elapsed > TIMEOUT_S:
            raise Unmeasured(f"the flood was not over after {elapsed:.0f} s")
        return self._seconds is not None

    @property
    def events_per_s(self) -> float:
        return self._events / (self._seconds or TIMEOUT_S)


class _Quiet:
    """The quiet tenants, in turn: one note every `every_s`."""

    def __init__(self, reader: Reader, publish: Callable[[Event], None], bodies: Sequence[list[str]], every_s: float) -> None:
        self._reader, self._publish, self._bodies, self._every_s = reader, publish, bodies, every_s
        self._numbers = count()

    def publish_notes(self, is_over: Callable[[], bool]) -> list[float]:
        """Publish until it is over, then find the remaining notes. Returns the latency of each note, in seconds."""
        began, events = perf_counter(), list[Event]()
        while not is_over():
            events.append(self._next())
            self._publish(events[-1])
            self._reader.expect(events[-1])
            self._reader.search_for(began + len(events) * self._every_s - perf_counter())
        self._reader.find_all()
        return latencies(events)

    def only_search(self, is_over: Callable[[], bool]) -> None:
        """Publish nothing until it is over, but search."""
        self._reader.expect(Event(QUIET[0], "never", 1, "", mark(0)))
        while not is_over():
            self._reader.search_for(self._every_s)
        self._reader.clear()

    def _next(self) -> Event:
        n = next(self._numbers)
        return Event(QUIET[n % len(QUIET)], f"note-{n}", 1, brief(n, self._bodies[n % len(self._bodies)], mark(n)), mark(n))


def _options(parser: ArgumentParser) -> None:
    parser.add_argument("--flood", type=int, default=3_000, help="events of the flood (%(default)s)")
    parser.add_argument("--period", type=float, default=2.0, help="seconds between two notes of one quiet tenant (%(default)s)")
    parser.add_argument("--quiet-seconds", type=float, default=40.0, help="how long the quiet tenants are measured alone (%(default)s)")


if __name__ == "__main__":
    run(measure, __doc__, _options)
