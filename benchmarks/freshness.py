"""How soon a published page can be found: 2 KB pages at a steady rate through `headrace stream`, and a reader that searches for each.

The stream is a separate process, warm, with every stage on: personal data is replaced, duplicates are stored once, and the graph is
written. New pages are published first, then edits of every third page (one word in the middle), then deletes of these, all at the same
rate. A latency is the time from just before `Publisher.upsert` until a search returned the new version, and nothing of the previous one.

The reader searches every 20 ms for the oldest page that it has not found, with `retrieval.search` and a question embedded in advance. That
adds 10 ms on average to a latency, a search of some milliseconds, and the processor time in `reader_cores`. The latency includes the
publisher's batching; its connection to Kafka is opened by an event that does not count. After the stream has ended, more pages go through
the stages in this process, one at a time.

Keys:
  p50_s, p95_s, p99_s  publish → searchable, seconds (goals on two cores: p50 ≤ 0.25, without bf16 instructions ≤ 0.35; p99 ≤ 1.0)
  events               new pages that were published and found
  compute_s            seconds of all seven stages for one page (`core.ledger.stage.Report.seconds`: reading, computing, committing), median
                       of 20: the lower bound of the latency with these stages
  bare_compute_s       of that, only the stages' `compute`, without finding work and committing
  overhead             p50_s / compute_s (goal: at most 2)
  edit_p50_s           edit → the old passage is gone and the new one is searchable
  edit_p99_s
  delete_p50_s         delete → the page is gone
  delete_p99_s
  stage_s              compute_s by stage
  search_p50_s         seconds of one search by the reader
  reader_cores         processor seconds per second of publisher and reader, without Postgres' share
  rate, page_bytes     the configured rate, and the median length of a page
  texts                the source of the texts
  backend, precision   of the embedding model
"""

from __future__ import annotations

import statistics
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from benchmarks import _world
from benchmarks._harness import Unmeasured, note, run
from benchmarks._pages import Pages, mark, page
from benchmarks._stream import Event, Reader, latencies, percentile, publish_at_rate, publishing, streaming
from core.frames import Result
from core.ledger.ledger import Stale
from core.ledger.stage import Session, Stage
from core.ledger.stage import run as run_stage
from core.tenancy import Connection
from pipelines.app import Headrace

TENANT = "fresh"
WARM_UP = 40
ALONE, ALONE_WARM_UP = 20, 10
SEARCH_EVERY_S = 0.02
FIRST_MARK = 3_000_000
EDIT_EVERY = 3
"""Every third page is edited and then deleted."""


def measure(data: Path, rate: float, seconds: float) -> dict[str, Any]:
    from pipelines.governance import tenants

    pages, number = Pages(data), round(rate * seconds)
    bodies = pages.take(number)
    with _world.headrace() as headrace:
        tenants.add(headrace, TENANT)
        with Reader(headrace, SEARCH_EVERY_S) as reader, streaming(headrace, [TENANT], pages.take(WARM_UP)):
            cpu, began = process_time(), perf_counter()
            phases = [_published(headrace, reader, events, rate) for events in _phases(bodies)]
            cores = (process_time() - cpu) / (perf_counter() - began)
        new, edits, deletes = phases
        alone = _alone(headrace, pages.take(ALONE_WARM_UP + ALONE))
        about = headrace.models.embedder.about
        search_p50_s = percentile(reader.took, 0.5)
    p50, compute = percentile(new, 0.5), sum(alone["stage_s"].values())
    return {
        "p50_s": p50,
        "p95_s": percentile(new, 0.95),
        "p99_s": percentile(new, 0.99),
        "events": len(new),
        "compute_s": compute,
        **alone,
        "overhead": p50 / compute,
        "edit_p50_s": percentile(edits, 0.5),
        "edit_p99_s": percentile(edits, 0.99),
        "delete_p50_s": percentile(deletes, 0.5),
        "delete_p99_s": percentile(deletes, 0.99),
        "search_p50_s": search_p50_s,
        "reader_cores": cores,
        "rate": rate,
        "page_bytes": round(statistics.median(len(page(0, body, mark(0))) for body in bodies)),
        "texts": pages.source,
        "backend": about["backend"],
        "precision": about["precision"],
    }


def _phases(bodies: Sequence[list[str]]) -> Iterator[list[Event]]:
    """Yield the events of each phase: new pages, edits of every third page, deletes of these."""
    edited = range(0, len(bodies), EDIT_EVERY)
    last = len(bodies)
    yield [Event(TENANT, f"page-{n}", 1, page(n, body, mark(n)), mark(n)) for n, body in enumerate(bodies)]
    yield [Event(TENANT, f"page-{n}", 2, page(n, bodies[n], mark(n + last)), mark(n + last), mark(n)) for n in edited]
    yield [Event(TENANT, f"page-{n}", 3, None) for n in edited]


def _published(headrace: Headrace, reader: Reader, events: Sequence[Event], rate: float) -> list[float]:
    """Publish events of one kind. Returns the latency of each, in seconds."""
    sequence = events[0].sequence
    first_mark = mark(FIRST_MARK + sequence)
    first = Event(TENANT, "first", sequence, page(0, ["This opens the connection."], first_mark), first_mark)
    with publishing(headrace, [TENANT]) as publish:
        publish_at_rate([first], rate, publish, reader)
        reader.find_all()
        publish_at_rate(events, rate, publish, reader)
        reader.find_all()
    took = latencies(events)
    note(f"{len(took)} events of one kind: median {statistics.median(took):.3f} s, longest {max(took):.3f} s")
    return took


def _alone(headrace: Headrace, bodies: Sequence[list[str]]) -> dict[str, Any]:
    """Run page after page through all stages in this process. The first pages warm it up and do not count."""
    from pipelines.stages.registry import NAMES, build

    whole: dict[str, list[float]] = {name: [] for name in NAMES}
    bare: list[float] = []
    for n, body in enumerate(bodies):
        with publishing(headrace, [TENANT]) as publish:
            publish(Event(TENANT, f"alone-{n}", 1, page(n, body, mark(n))))
        documents = headrace.land(TENANT).documents
        computing_s = 0.0
        for name in NAMES:
            session = headrace.session(TENANT)
            stage = _TimedStage(build(name, headrace, session.policy, session.keys.epoch))
            report = run_stage(stage, session, only=documents)
            if report.done != 1:
                raise Unmeasured(f"the stage {name} did not process the page")
            whole[name].append(report.seconds)
            computing_s += stage.computing_s
        bare.append(computing_s)
    note(f"alone: {sum(map(_warm_median, whole.values())):.3f} s")
    return {"bare_compute_s": _warm_median(bare), "stage_s": {name: _warm_median(took) for name, took in whole.items()}}


def _warm_median(took: Sequence[float]) -> float:
    return statistics.median(took[ALONE_WARM_UP:])


class _TimedStage(Stage):
    """A stage that measures the seconds in its `compute`."""

    def __init__(self, stage: Stage) -> None:
        self.step, self.batch, self.revalidates = stage.step, stage.batch, stage.revalidates
        self.computing_s = 0.0
        self._stage = stage

    def compute(self, session: Session, rows: Sequence[Stale], tally: Counter[str]) -> Sequence[Result]:
        began = perf_counter()
        try:
            return self._stage.compute(session, rows, tally)
        finally:
            self.computing_s += perf_counter() - began

    def store(self, connection: Connection, session: Session, payloads: Mapping[str, bytes]) -> Collection[str]:
        return self._stage.store(connection, session, payloads)

    def remove(self, connection: Connection, session: Session, documents: Sequence[str]) -> Collection[str]:
        return self._stage.remove(connection, session, documents)

    def about(self, tally: Mapping[str, int]) -> Mapping[str, str]:
        return self._stage.about(tally)


def _options(parser: ArgumentParser) -> None:
    parser.add_argument("--rate", type=float, default=5.0, help="events per second (%(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long new pages are published (%(default)s)")


if __name__ == "__main__":
    run(measure, __doc__, _options)
