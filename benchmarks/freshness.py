"""How soon what is published can be found: pages of 2 KB at a steady rate through `headrace stream`, and a reader that searches for each.

The stream is a process of its own, warm, with every stage on: personal data replaced, duplicates stored once, the graph written. First come
new pages, then edits of every third one (a word in the middle), then their deletes, all at the same rate. A latency runs from just before
`Publisher.upsert` until a search showed what was published, and nothing of the version before.

The reader asks for the oldest page that it has not seen, every 20 ms, through `retrieval.search`, with a question embedded beforehand:
that adds 10 ms to a latency in the middle, a search of some milliseconds, and the processor time that `reader_cores` gives. The publisher's
own batching is in the latency too; its line to Kafka is open, by an event before the first that counts. When the stream has ended,
further pages go through the stages in this process, one by one, alone.

Keys:
  p50_s, p95_s, p99_s  publish → searchable, seconds (goals on two cores: p50 ≤ 0.25, without bf16 instructions ≤ 0.35; p99 ≤ 1.0)
  events               new pages that were published, and seen
  compute_s            the stages' own seconds (`core.ledger.stage.Report.seconds`: reading, computing, committing) for one such page,
  added up
                       over all seven, median of 20: what nobody can do in less without another stage
  bare_compute_s       of that, the stages' `compute` alone: no search for work, no commit
  overhead             p50_s / compute_s (goal: at most 2)
  edit_p50_s           edit → old passage gone and new passage searchable
  edit_p99_s
  delete_p50_s         delete → gone
  delete_p99_s
  stage_s              compute_s by stage
  search_p50_s         what one search of the reader took
  reader_cores         processor seconds per second of publisher and reader, Postgres' own for them not counted
  rate, page_bytes     what was asked for, and the pages' length in the middle
  texts                where they are from
  backend, precision   what embedded
"""

from __future__ import annotations

import statistics
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from benchmarks import _world
from benchmarks._harness import Unmeasured, note, run
from benchmarks._pages import Pages, mark, page
from benchmarks._stream import Event, Reader, at_a_rate, latencies, percentile, publishing, streaming
from core.ledger import stage as stages
from core.ledger.stage import Stage
from pipelines.app import Headrace

TENANT = "fresh"
WARM_UP = 40
ALONE, ALONE_WARM_UP = 20, 10
LOOK_EVERY_S = 0.02
GREETING = 3_000_000
EDITED = 3
"""Every so-manieth page is edited and then deleted."""


def measure(data: Path, rate: float, seconds: float) -> dict[str, Any]:
    from pipelines.governance import tenants

    pages, number = Pages(data), round(rate * seconds)
    bodies = pages.take(number)
    with _world.headrace() as headrace:
        tenants.add(headrace, TENANT)
        with Reader(headrace, LOOK_EVERY_S) as reader, streaming(headrace, [TENANT], pages.take(WARM_UP)):
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
    """New pages, edits of every third one, and the deletes of these."""
    edited = range(0, len(bodies), EDITED)
    last = len(bodies)
    yield [Event(TENANT, f"page-{n}", 1, page(n, body, mark(n)), mark(n)) for n, body in enumerate(bodies)]
    yield [Event(TENANT, f"page-{n}", 2, page(n, bodies[n], mark(n + last)), mark(n + last), mark(n)) for n in edited]
    yield [Event(TENANT, f"page-{n}", 3, None) for n in edited]


def _published(headrace: Headrace, reader: Reader, events: Sequence[Event], rate: float) -> list[float]:
    """The latency of each."""
    sequence = events[0].sequence
    greeted = mark(GREETING + sequence)
    greeting = Event(TENANT, "greeting", sequence, page(0, ["Nobody waits for this."], greeted), greeted)
    with publishing(headrace, [TENANT]) as publish:
        at_a_rate([greeting], rate, publish, reader)
        reader.look_for_all()
        at_a_rate(events, rate, publish, reader)
        reader.look_for_all()
    took = latencies(events)
    note(f"{len(took)} events of one kind: median {statistics.median(took):.3f} s, longest {max(took):.3f} s")
    return took


def _alone(headrace: Headrace, bodies: Sequence[list[str]]) -> dict[str, Any]:
    """Page after page, each through all stages before the next one is published; the first ones warm this process."""
    from pipelines.stages.registry import NAMES

    whole: dict[str, list[float]] = {name: [] for name in NAMES}
    bare: list[float] = []
    for n, body in enumerate(bodies):
        with publishing(headrace, [TENANT]) as publish:
            publish(Event(TENANT, f"alone-{n}", 1, page(n, body, mark(n))))
        documents = headrace.land(TENANT).documents
        computing: Counter[str] = Counter()
        for name in NAMES:
            session = headrace.session(TENANT)
            report = stages.run(_clocked(headrace.way.stage(name, session.policy, session.keys.epoch), computing), session, only=documents)
            if report.done != 1:
                raise Unmeasured(f"the stage {name} did not take the one page that it was given")
            whole[name].append(report.seconds)
        bare.append(computing["microseconds"] / 1e6)
    note(f"alone: {sum(map(_settled, whole.values())):.3f} s")
    return {"bare_compute_s": _settled(bare), "stage_s": {name: _settled(took) for name, took in whole.items()}}


def _settled(took: Sequence[float]) -> float:
    return statistics.median(took[ALONE_WARM_UP:])


def _clocked(stage: Stage, computing: Counter[str]) -> Stage:
    compute = stage.compute

    def timed(*given: Any) -> Any:
        began = perf_counter()
        try:
            return compute(*given)
        finally:
            computing["microseconds"] += round((perf_counter() - began) * 1e6)

    clocked: Callable[..., Any] = timed
    return replace(stage, compute=clocked)


def _options(parser: ArgumentParser) -> None:
    parser.add_argument("--rate", type=float, default=5.0, help="events a second (%(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long new pages come (%(default)s)")


if __name__ == "__main__":
    run(measure, __doc__, _options)
