"""Whether the stream's resources grow: the same 200 pages of 2 KB are edited again and again, as fast as `headrace stream` processes them.

Each edit is a completely new text, no page has two edits in flight, and the number of pages and passages is constant. So any growth is the
stream's own. The load runs for a warm-up time, and until every page was edited twice. Then the values below are read every few seconds:
`start` is the median of the first fifth of the readings, `end` that of the last fifth, and `growth` is end / start - 1 (goal: at most 0.05
after warm-up, in ten minutes).

Keys:
  growth        the largest growth of the values below to which the goal applies
  grew_most     the name of that value
  events, events_per_s
                edits processed during the measurement
  memory_mb     proportional set size: of the stream's process, of its parse workers together, of the embedded Kafka and Neo4j (a server
                keeps memory that it has allocated, and its heap fills until it is collected). For Postgres, unique set size: its shared
                buffers have a configured size, and fill up with everything that is read
  connections   of the stream's process to postgres, kafka and neo4j
  handles       threads and open files of the stream's process
  tables_mb     all tables and indexes of the tenant and the control plane except `event`, which has one row per event
  event_bytes   size of `event` per event
  dead_share    dead rows / all rows (varies with autovacuum; the goal does not apply)
"""

from __future__ import annotations

import statistics
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import psutil

import services
from benchmarks import _world
from benchmarks._harness import Unmeasured, note, run
from benchmarks._pages import Pages, page
from benchmarks._stream import Event, Stream, publishing, read_count, streaming
from core.sql import statements
from pipelines.app import Headrace

TENANT = "soak"
PAGES, IN_FLIGHT = 200, 96
WARM_UP = 40
CHECK_EVERY_S = 1.0
SHARE = 0.2
FEWEST_READINGS = 10
WITHOUT_GOAL = ("dead_share",)

Reading = dict[str, float]
"""The values measured at one time, by `group.name`."""


def measure(data: Path, minutes: float, warm_up_seconds: float) -> dict[str, Any]:
    from pipelines.governance import tenants

    pages = Pages(data)
    with ExitStack() as closing:
        headrace = closing.enter_context(_world.headrace())
        tenants.add(headrace, TENANT)
        stream = closing.enter_context(streaming(headrace, [TENANT], pages.take(WARM_UP)))
        load = _Load(headrace, stream, closing.enter_context(publishing(headrace, [TENANT])), pages.take(PAGES + 1))
        load.warm_up(warm_up_seconds)
        note(f"{load.processed} edits to warm up")
        readings, took, processed = list[Reading](), -perf_counter(), -load.processed
        every_s = max(1.0, minutes * 60 / 120)
        while took + perf_counter() < minutes * 60:
            load.run(every_s)
            readings.append(_read(headrace, stream))
            _report(readings, load.processed)
        took, processed = took + perf_counter(), processed + load.processed
    return {**_growth(readings), "events": processed, "events_per_s": processed / took}


class _Load:
    """Edits of the same pages in turn, with enough in flight to keep the stream busy."""

    def __init__(self, headrace: Headrace, stream: Stream, publish: Callable[[Event], None], bodies: Sequence[list[str]]) -> None:
        self._headrace, self._stream, self._publish = headrace, stream, publish
        self._edits = self._endless(bodies)
        self._before = read_count(headrace, TENANT, "landed")
        self._published = 0

    @property
    def processed(self) -> int:
        """The number of edits whose outcome is decided."""
        # in this order, so that an event that lands in between is not counted
        landed = read_count(self._headrace, TENANT, "landed") - self._before
        return landed - read_count(self._headrace, TENANT, "undecided")

    def warm_up(self, seconds: float) -> None:
        """Run for at least this long, and until every page was edited twice: then the tables have their size, with room for dead rows."""
        self.run(seconds)
        while self.processed < 3 * PAGES:
            self.run(CHECK_EVERY_S)

    def run(self, seconds: float) -> None:
        until = perf_counter() + seconds
        while perf_counter() < until:
            self._stream.check_running()
            for _ in range(IN_FLIGHT - (self._published - self.processed)):
                self._publish(next(self._edits))
                self._published += 1
            sleep(0.2)

    def _endless(self, bodies: Sequence[list[str]]) -> Iterator[Event]:
        """Yield edits forever. A page's next text is the previous text of the page before it, so that all texts are always in use."""
        sequence = 0
        while True:
            sequence += 1
            for n in range(PAGES):
                yield Event(TENANT, f"page-{n}", sequence, page(n, bodies[(n + sequence) % len(bodies)], "soaked"))


def _read(headrace: Headrace, stream: Stream) -> Reading:
    process = psutil.Process(stream.process.pid)
    servers = {found.name: found for found in services.status(headrace.settings)}
    reading = {"memory_mb.stream": _memory_mb([process]), "memory_mb.parse_workers": _memory_mb(process.children(recursive=True))}
    connections = [c.raddr.port for c in process.net_connections("tcp") if c.status == psutil.CONN_ESTABLISHED]
    for name, found in servers.items():
        if found.pid is None or found.address is None:
            raise Unmeasured(f"{name} is no longer running")
        server = psutil.Process(found.pid)
        kind = "uss" if name == "postgres" else "pss"
        reading[f"memory_mb.{name}"] = _memory_mb([server, *server.children(recursive=True)], kind)
        reading[f"connections.{name}"] = connections.count(int(found.address.rpartition(":")[2]))
    reading |= {"handles.threads": process.num_threads(), "handles.files": process.num_fds()}
    return reading | _tables(headrace)


def _memory_mb(processes: Sequence[psutil.Process], kind: str = "pss") -> float:
    """Return the processes' memory. A process that has just ended counts as 0."""
    total = 0
    for process in processes:
        try:
            total += getattr(process.memory_full_info(), kind)
        except psutil.NoSuchProcess:
            continue
    return total / 1e6


def _tables(headrace: Headrace) -> Reading:
    with headrace.database.control() as connection:
        (row,) = connection.execute(_SQL["sizes"], {"home": f"tenant_{TENANT}"}).fetchall()
    events = read_count(headrace, TENANT, "landed")
    return {
        "tables_mb.all": float(row["tables"]) / 1e6,
        "event_bytes.each": float(row["event"]) / events,
        "dead_share.all": float(row["dead"] or 0),
    }


def _report(readings: Sequence[Reading], processed: int) -> None:
    if len(readings) % 12 == 1:
        shown = {name: round(readings[-1][name]) for name in ("memory_mb.stream", "connections.postgres", "tables_mb.all")}
        note(f"{processed} edits; " + ", ".join(f"{name} {value}" for name, value in shown.items()))


def _growth(readings: Sequence[Reading]) -> dict[str, Any]:
    """Return the largest growth, and each value at start and end."""
    if len(readings) < FEWEST_READINGS:
        raise Unmeasured(f"{len(readings)} readings are too few; increase --minutes")
    part = max(3, round(len(readings) * SHARE))
    groups: dict[str, dict[str, Any]] = {}
    growths: dict[str, float] = {}
    for key in readings[0]:
        group, _, name = key.partition(".")
        start, end = (statistics.median(reading[key] for reading in some) for some in (readings[:part], readings[-part:]))
        groups.setdefault(group, {})[name] = {"start": start, "end": end, "growth": end / start - 1 if start else 0.0}
        if group not in WITHOUT_GOAL:
            growths[key] = groups[group][name]["growth"]
    most = max(growths, key=lambda key: growths[key])
    return {"growth": growths[most], "grew_most": most, **groups}


def _options(parser: ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=10.0, help="duration of the measurement (%(default)s)")
    parser.add_argument("--warm-up-seconds", type=float, default=180.0, help="minimum duration of the warm-up (%(default)s)")


_SQL = statements("benchmarks", "soak.sql")


if __name__ == "__main__":
    run(measure, __doc__, _options)
