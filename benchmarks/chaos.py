"""Kill streams again and again while events are published, and check that the result is the same as without kills.

The random workloads of two tenants (`_workload`: edits, deletes, access lists, shared texts, duplicates, late records, dead letters) are
published bit by bit, and among them hostile records: header names that are not UTF-8, records without any part, JSON that is none or too
deep, texts that no database stores, timestamps of any 64 bits. Meanwhile, processes that stream both tenants, and now and then one that
ingests a single tenant, or builds another generation of its index with another chunker and switches to it, are killed by SIGKILL: they
kill themselves at a named crash point (`core.crashpoints`; each point at least once, if there are enough kills), or are killed from outside
at a random instant. Finally, one more stream runs undisturbed until nothing is due and both tenants are back at the first chunker, and is
stopped. Then each tenant is compared with what its events say, and with another tenant that received the same records without faults.

The processes are forked from one that has imported everything and opened nothing (`_forkserver`). Four run at a time: the broker notices a
killed member only after its session timeout, and by then the next process is warm. So a kill costs about a second on two cores.

Keys:
  kills                 processes killed: --kills, plus one for each process that did not reach its crash point
  points                crash points at which a process was killed; `all_points` is the number of crash points
  events                records published
  hostile               those of them with bytes that no client of Headrace writes
  lost                  records that did not land or have no outcome; records that must be dead letters and are none, hostile ones first of
                        all; documents that should be searchable, or in the graph, but are not
  repeated              records that landed twice, documents that changed more often than they landed, outcomes that contradict each other
                        or are out of order
  resurrected           deleted documents that are still in the index or the graph
  stale                 documents whose passages, title, sequence or access list are not the newest
  orphans               chunks without a source, documents in the index or the graph that should not be, artifacts of deleted documents,
                        outcomes left in the outbox
  differs_from_scratch  entries (documents, passages, ledger, dead letters, graph) that differ from the tenant without faults
                        (these six must be 0)
  seconds               from the first fork until nothing was due
  seconds_per_kill      seconds / kills
"""

from __future__ import annotations

import argparse
import random
import signal
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec

from benchmarks import _world
from benchmarks._compare import outdated
from benchmarks._forkserver import INGEST, REINDEX, STREAM, ForkedProcess, ForkServer, ProcessSpec
from benchmarks._harness import Unmeasured, note, run
from benchmarks._verdict import WRONG, faults, from_scratch
from benchmarks._workload import Workload, publish
from core.errors import HeadraceError
from pipelines.app import Headrace
from pipelines.operations import reindex
from pipelines.operations.stage_counts import due
from pipelines.stages.registry import CRASH_POINTS as OF_STAGES

TENANTS = ("north", "south")
CRASH_POINTS = (*OF_STAGES, *reindex.CRASH_POINTS)
KILLS, SEED = 300, 5
PROCESSES = 4
CHANGES = 2
PUBLISH_S = 0.4
LONGEST_LIFE_S = 4.0
POINT_TIMEOUT_S = 20.0
DRAIN_TIMEOUT_S = 120.0


def measure(data: Path, kills: int = KILLS, seed: int = SEED) -> dict[str, Any]:  # noqa: ARG001 - it uses no data set
    with _world.headrace() as headrace:
        return kill_streams(headrace, kills, seed)


def kill_streams(headrace: Headrace, kills: int, seed: int) -> dict[str, Any]:
    """Return the keys, for a Headrace without tenants. Raises Unmeasured if a stream exits by itself or does not catch up."""
    from pipelines.governance import tenants

    workloads = {tenant: Workload(seed + at) for at, tenant in enumerate(TENANTS)}
    with ForkServer(headrace.settings.data_dir, headrace.settings.data_dir / "streams.log") as server:
        for tenant in workloads:
            tenants.add(headrace, tenant)
        headrace.warm()  # for the comparison; the fork server imports meanwhile
        server.wait()
        note("the killing begins")
        started = monotonic()
        killer = Killer(headrace, server, workloads, random.Random(seed))
        killer.run(kills)
        _finish(headrace, server, workloads)
        took = monotonic() - started
    return {
        "kills": killer.kills,
        "points": len(killer.points),
        "all_points": len(CRASH_POINTS),
        "events": sum(len(workload.records) for workload in workloads.values()),
        "hostile": sum(record.hostile for workload in workloads.values() for record in workload.records),
        **_compared(headrace, workloads),
        "seconds": took,
        "seconds_per_kill": took / killer.kills,
    }


@dataclass
class Killer:
    """Keeps processes running and events coming, and kills the processes."""

    headrace: Headrace
    server: ForkServer
    workloads: Mapping[str, Workload]
    rng: random.Random
    kills: int = 0
    points: Counter[str] = field(default_factory=Counter)

    def run(self, kills: int) -> None:
        """Kill this number of processes. Raises Unmeasured if a process ends in another way."""
        specs = self._specs(kills)
        running: dict[int, tuple[ForkedProcess, float]] = {}
        publish_at = 0.0
        while specs or running:
            while specs and len(running) < PROCESSES:
                process = self.server.fork(specs.pop())
                running[process.pid] = process, self._deadline(process.spec)
            if monotonic() >= publish_at:
                self._publish()
                publish_at = monotonic() + PUBLISH_S
            self.server.poll(0.05)
            for process, deadline in list(running.values()):
                if not process.alive:
                    del running[process.pid]
                    specs += self._ended(process)
                elif monotonic() >= deadline:
                    process.kill()

    def _specs(self, kills: int) -> list[ProcessSpec]:
        """Kill at every point once, if there are enough kills; of the other kills, half at points and half at random instants."""
        points = list(CRASH_POINTS[:kills])
        points += self.rng.choices(CRASH_POINTS, k=(kills - len(points)) // 2)
        specs = [ProcessSpec(point=point, nth=self.rng.choice((1, 1, 2, 3)), **self._kind(point)) for point in points]
        specs += [ProcessSpec(**self._kind()) for _ in range(kills - len(points))]
        self.rng.shuffle(specs)
        return specs

    def _kind(self, point: str | None = None) -> dict[str, Any]:
        drawn = self.rng.random()
        kind = REINDEX if point in reindex.CRASH_POINTS or (drawn > 0.85 and not point) else INGEST if drawn < 0.15 else STREAM
        return {"kind": kind, "tenant": "" if kind == STREAM else self.rng.choice(TENANTS)}

    def _deadline(self, spec: ProcessSpec) -> float:
        return monotonic() + (POINT_TIMEOUT_S if spec.point else self.rng.uniform(0.0, LONGEST_LIFE_S))

    def _ended(self, process: ForkedProcess) -> list[ProcessSpec]:
        """Count a killed process. Returns the spec that replaces it, if it was not killed at its point."""
        if process.ended_by != signal.SIGKILL:
            raise Unmeasured(f"a process ended by itself, with {process.ended_by or process.code}; see {self.server.log}")
        self.kills += 1
        if self.kills % 10 == 0:
            note(f"{self.kills} killed, {len(self.points)} of {len(CRASH_POINTS)} points")
        if process.spec.point and process.killed_from_outside:
            return [msgspec.structs.replace(process.spec, nth=1)]
        self.points.update([process.spec.point] if process.spec.point else [])
        return []

    def _publish(self) -> None:
        for tenant, workload in self.workloads.items():
            publish(self.headrace.endpoints.kafka_client(), tenant, workload.take(CHANGES))


def _finish(headrace: Headrace, server: ForkServer, workloads: Mapping[str, Workload]) -> None:
    """Run one stream that is not killed until nothing is left to do, and stop it."""
    last, deadline = server.fork(ProcessSpec()), monotonic() + DRAIN_TIMEOUT_S
    while any(_remaining(headrace, tenant, workload) for tenant, workload in workloads.items()):
        if not last.alive or monotonic() > deadline:
            raise Unmeasured(f"the last stream {'did not catch up' if last.alive else 'exited by itself'}; see {server.log}")
        server.poll(0.2)
    last.terminate()
    while last.alive and monotonic() < deadline:
        server.poll(0.2)
    if last.code != 0:
        raise Unmeasured(f"the last stream ended with {last.code or last.ended_by} after SIGTERM; see {server.log}")


def _remaining(headrace: Headrace, tenant: str, workload: Workload) -> int:
    """Records that have not landed; if all have, documents that are due."""
    landed = sum(headrace.positions(tenant).values())
    return len(workload.records) - landed or due(headrace, tenant) or _to_return(headrace, tenant)


def _to_return(headrace: Headrace, tenant: str) -> int:
    """What is left until the tenant's index is that of the first chunker again, as that of the tenant without faults."""
    found = reindex.status(headrace, tenant)
    if found and found.state == "building":
        return 1
    strategy = headrace.settings.chunking.strategy
    if headrace.session(tenant).policy.chunking.strategy == strategy:
        return outdated(headrace, tenant)
    with suppress(HeadraceError):  # the stages have not yet written what was switched to
        reindex.request(headrace, tenant, chunker=strategy)
    return 1


def _compared(headrace: Headrace, workloads: Mapping[str, Workload]) -> dict[str, int]:
    totals = dict.fromkeys(WRONG, 0)
    for tenant, workload in workloads.items():
        note(f"{tenant}: {len(workload.records)} records from scratch")
        from_scratch(headrace, workload, f"{tenant}-plain")
        for kind, lines in faults(headrace, tenant, workload, f"{tenant}-plain").items():
            totals[kind] += len(lines)
            for line in lines[:5]:
                note(f"{kind}: {line}")
    return totals


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kills", type=int, default=KILLS, help="the number of processes to kill (%(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="seed of the events, the processes and the instants (%(default)s)")


if __name__ == "__main__":
    run(measure, __doc__, _options)
