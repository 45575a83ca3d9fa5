"""Lanes: groups of stages that work at the same time, so that one batch is parsed while another is embedded.

A lane takes a tenant's batch from its backlog, runs its stages over those documents through the ledger, and passes them to the next lane.
Two tenants may have a batch in a lane at once, so that one document need not wait for another tenant's many. A backlog holds only
document keys: a process that dies loses nothing that the ledger does not know.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from threading import Condition, Thread
from time import monotonic

from pipelines.stream.backlog import Backlog, Batch

CONCURRENCY = 2
"""Batches in a lane at once, each of another tenant."""

LINGER_S, LINGER_DOCUMENTS = 0.5, 8
"""The last lane collects up to this many documents for up to this long: search does not depend on it, and Neo4j writes eight documents as
fast as one."""

TARGET_S = 0.5
"""The intended duration of a batch, in seconds: the longest that a quiet tenant waits in a lane that busy ones fill."""

Work = Callable[[Batch], None]


class Lanes:
    """A few threads for each lane, in a row. `work` gets a batch and must not raise.

    `add` puts documents into the first lane; they pass every lane in order.
    """

    def __init__(self, *work: Work) -> None:
        self._changed = Condition()
        self._backlogs = [Backlog(TARGET_S) for _ in work]
        self._working: list[list[Batch]] = [[] for _ in work]
        self._closing = self._leaving = False
        # daemons: if one hangs on a server, the process still ends, and the ledger knows what was not done
        for lane, do in enumerate(work):
            for _ in range(CONCURRENCY):
                Thread(target=self._run, args=(lane, do), name=f"lane-{lane}", daemon=True).start()

    def add(self, tenant: str, documents: tuple[str, ...]) -> None:
        """These documents wait for the first lane."""
        with self._changed:
            self._backlogs[0].add(tenant, documents)
            self._changed.notify_all()

    def in_flight(self, tenant: str) -> frozenset[str]:
        """The tenant's documents that wait for any lane or are in one."""
        with self._changed:
            waiting = {document for backlog in self._backlogs for document in backlog.waiting(tenant)}
            return frozenset(waiting.union(*(batch.documents for batch in chain(*self._working) if batch.tenant == tenant)))

    def counts(self) -> dict[str, int]:
        """Documents that wait for any lane or are in one, by tenant."""
        with self._changed:
            totals = dict[str, int]()
            for counts in (backlog.counts() for backlog in self._backlogs):
                totals |= {tenant: totals.get(tenant, 0) + count for tenant, count in counts.items()}
            for batch in chain(*self._working):
                totals[batch.tenant] = totals.get(batch.tenant, 0) + len(batch.documents)
            return totals

    def close(self, timeout_s: float) -> bool:
        """Finish what is in flight, for up to `timeout_s`. Returns whether all was finished; the ledger knows what was not."""
        with self._changed:
            self._leaving = True
            self._changed.notify_all()
            finished = self._changed.wait_for(self._idle, timeout_s)
            self._closing = True
            self._changed.notify_all()
        return finished

    def _idle(self) -> bool:
        return not any(map(len, self._backlogs)) and not any(self._working)

    def _run(self, lane: int, work: Work) -> None:
        while (batch := self._next(lane)) is not None:
            started = monotonic()
            work(batch)
            self._pass_on(lane, batch, monotonic() - started)

    def _next(self, lane: int) -> Batch | None:
        """The lane's next batch, as soon as there is one; None if the lanes are closed."""
        with self._changed:
            while not self._closing:
                self._linger(lane)
                if batch := self._backlogs[lane].take(without={batch.tenant for batch in self._working[lane]}):
                    self._working[lane].append(batch)
                    return batch
                self._changed.wait()
        return None

    def _linger(self, lane: int) -> None:
        backlog = self._backlogs[lane]
        if lane and lane == len(self._backlogs) - 1 and len(backlog):
            self._changed.wait_for(lambda: self._closing or self._leaving or len(backlog) >= LINGER_DOCUMENTS, LINGER_S)

    def _pass_on(self, lane: int, batch: Batch, seconds: float) -> None:
        with self._changed:
            self._working[lane].remove(batch)
            self._backlogs[lane].measured(batch, seconds)
            if lane + 1 < len(self._backlogs):
                self._backlogs[lane + 1].add(batch.tenant, batch.documents)
            self._changed.notify_all()
