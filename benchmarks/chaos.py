"""Streams that are killed again and again while events keep coming, and whether anything of that can be seen afterwards.

Two tenants' workloads of chance (`_workload`: edits, deletes, changing access lists, shared texts, records twice and out of order, dead
letters) are published bit by bit. Meanwhile processes that stream both tenants, now and then one that ingests a single tenant beside them,
run and are killed by SIGKILL: by themselves at a named crash point (`core.crashpoints`, every one at least once where there are kills
enough), or from outside at a random instant. In the end one more stream is left alone until nothing is due, and told to stop. Then each
tenant is compared with what its events say, and with another tenant that was given the same records and no faults.

Victims are forked from a process that has imported everything and opened nothing (`_victims`), and four live at a time: the broker
misses a killed member only after its session timeout, and by then another victim is warm. So a kill costs about a second on two cores.

Keys:
  kills                 processes killed; --kills, and one more for each that never came to its crash point
  points                named crash points at which one was killed, of all there are (`all_points`)
  events                records published
  lost                  records that did not land or have no outcome; documents that should be searchable, or in the graph, and are not
  repeated              records that landed twice, documents that moved oftener than they landed, outcomes that contradict or overtake
                        each other
  resurrected           deleted documents with anything in index or graph
  stale                 documents whose passages, title, sequence or access list are not the last ones
  orphans               chunks without a source, documents that are in index or graph and should not, artifacts of deleted documents,
                        outcomes that stay in the outbox
  differs_from_scratch  entries (documents, passages, ledger, dead letters, graph) that differ from those of the tenant without faults
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
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from benchmarks import _world
from benchmarks._harness import Unmeasured, note, run
from benchmarks._verdict import WRONG, faults, from_scratch
from benchmarks._victims import INGEST, STREAM, Order, Template, Victim
from benchmarks._workload import Workload, publish
from core.crashpoints import POINTS
from pipelines.app import Headrace

TENANTS = ("north", "south")
KILLS, SEED = 300, 5
OVERLAP = 4
CHANGES = 2
PUBLISH_S = 0.4
LONGEST_LIFE_S = 4.0
POINT_PATIENCE_S = 20.0
DRAIN_S = 120.0


def measure(data: Path, kills: int = KILLS, seed: int = SEED) -> dict[str, Any]:  # noqa: ARG001 - it needs no data
    with _world.headrace() as headrace:
        return torment(headrace, kills, seed)


def torment(headrace: Headrace, kills: int, seed: int) -> dict[str, Any]:
    """The keys, of a Headrace without tenants. Raises Unmeasured where a stream ends by itself or does not catch up."""
    from pipelines.governance import tenants

    workloads = {tenant: Workload(seed + at) for at, tenant in enumerate(TENANTS)}
    with Template(headrace.settings.data_dir, headrace.settings.data_dir / "victims.log") as template:
        for tenant in workloads:
            tenants.add(headrace, tenant)
        headrace.warm()  # for the comparison, while the template imports
        template.wait()
        note("killing begins")
        started = monotonic()
        slaughter = Slaughter(headrace, template, workloads, random.Random(seed))
        slaughter.run(kills)
        _survive(headrace, template, workloads)
        took = monotonic() - started
    return {
        "kills": slaughter.kills,
        "points": len(slaughter.points),
        "all_points": len(POINTS),
        "events": sum(len(workload.records) for workload in workloads.values()),
        **_judge(headrace, workloads),
        "seconds": took,
        "seconds_per_kill": took / slaughter.kills,
    }


@dataclass
class Slaughter:
    """Victims, their orders and deadlines, and the events that keep coming."""

    headrace: Headrace
    template: Template
    workloads: Mapping[str, Workload]
    chance: random.Random
    kills: int = 0
    points: Counter[str] = field(default_factory=Counter)

    def run(self, kills: int) -> None:
        """Kill so many. Raises Unmeasured where a victim ends in another way."""
        orders = self._orders(kills)
        living: dict[int, tuple[Victim, float]] = {}
        publish_at = 0.0
        while orders or living:
            while orders and len(living) < OVERLAP:
                victim = self.template.fork(orders.pop())
                living[victim.pid] = victim, self._until(victim.order)
            if monotonic() >= publish_at:
                self._publish()
                publish_at = monotonic() + PUBLISH_S
            self.template.hear(0.05)
            for victim, until in list(living.values()):
                if not victim.alive:
                    del living[victim.pid]
                    orders += self._ended(victim)
                elif monotonic() >= until:
                    victim.kill()

    def _orders(self, kills: int) -> list[Order]:
        """Every point once, where there are so many kills; of the others one half at points, the other at random instants."""
        points = list(POINTS[:kills])
        points += self.chance.choices(POINTS, k=(kills - len(points)) // 2)
        orders = [Order(point=point, nth=self.chance.choice((1, 1, 2, 3)), **self._kind()) for point in points]
        orders += [Order(**self._kind()) for _ in range(kills - len(points))]
        self.chance.shuffle(orders)
        return orders

    def _kind(self) -> dict[str, Any]:
        ingests = self.chance.random() < 0.15
        return {"kind": INGEST if ingests else STREAM, "tenant": self.chance.choice(TENANTS) if ingests else ""}

    def _until(self, order: Order) -> float:
        return monotonic() + (POINT_PATIENCE_S if order.point else self.chance.uniform(0.0, LONGEST_LIFE_S))

    def _ended(self, victim: Victim) -> list[Order]:
        """Count it. Gives the order that takes its place, where it did not die at its point."""
        if victim.ended_by != signal.SIGKILL:
            raise Unmeasured(f"a victim ended by itself, with {victim.ended_by or victim.code}; see {self.template.log}")
        self.kills += 1
        if self.kills % 10 == 0:
            note(f"{self.kills} killed, {len(self.points)} of {len(POINTS)} points")
        if victim.order.point and victim.killed_from_outside:
            return [Order(point=victim.order.point)]
        self.points.update([victim.order.point] if victim.order.point else [])
        return []

    def _publish(self) -> None:
        for tenant, workload in self.workloads.items():
            publish(self.headrace.endpoints.kafka_client(), tenant, workload.take(CHANGES))


def _survive(headrace: Headrace, template: Template, workloads: Mapping[str, Workload]) -> None:
    """One stream that is not killed takes what was left, and ends when it is told to."""
    last, until = template.fork(Order()), monotonic() + DRAIN_S
    while any(_open(headrace, tenant, workload) for tenant, workload in workloads.items()):
        if not last.alive or monotonic() > until:
            raise Unmeasured(f"the last stream {'did not catch up' if last.alive else 'ended by itself'}; see {template.log}")
        template.hear(0.2)
    last.terminate()
    while last.alive and monotonic() < until:
        template.hear(0.2)
    if last.code != 0:
        raise Unmeasured(f"the last stream ended with {last.code or last.ended_by} when it was told to; see {template.log}")


def _open(headrace: Headrace, tenant: str, workload: Workload) -> int:
    """Records that did not land, or documents that are due."""
    landed = sum(headrace.positions(tenant).values())
    return len(workload.records) - landed or headrace.due(tenant)


def _judge(headrace: Headrace, workloads: Mapping[str, Workload]) -> dict[str, int]:
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
    parser.add_argument("--kills", type=int, default=KILLS, help="how many processes to kill (%(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="of the events, the orders and the instants (%(default)s)")


if __name__ == "__main__":
    run(measure, __doc__, _options)
