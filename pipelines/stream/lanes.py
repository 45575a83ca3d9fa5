"""Lanes: the stages in three groups that work at the same time, so that one batch is parsed while another is embedded.

A lane takes a tenant's turn from its backlog, runs its stages over those documents through the ledger, and hands them to the next lane.
Two tenants may have their turn in it at once, so that one document need not wait until somebody's many are done. What is in a backlog is
keys alone: a process that dies loses nothing that the ledger does not know.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from threading import Condition, Thread
from time import monotonic

from pipelines.stream.backlog import Backlog, Turn

LANES: tuple[tuple[str, ...], ...] = (("parse", "redact", "chunk"), ("embed", "index"), ("graph", "project"))
"""The stages of each lane, in the order of the way. Redaction keeps Python busy, embedding the processor, Neo4j neither."""

ABREAST = 2
"""Turns in a lane at once, each another tenant's."""

LINGER_S, ENOUGH = 0.5, 8
"""The last lane waits so long for so many documents: no search waits for the graph, and Neo4j takes eight in little more time than one."""

TARGET_S = 0.5
"""A turn is made to last so long: what a quiet tenant waits in a lane at most, where busy ones have all of it."""

Work = Callable[[Turn], None]


class Lanes:
    """Some threads for each piece of work, in a row. `work` gets a turn and may raise nothing.

    Documents go in by `add`, through every lane in order, and out at the end.
    """

    def __init__(self, *work: Work) -> None:
        self._changed = Condition()
        self._backlogs = [Backlog(TARGET_S) for _ in work]
        self._working: list[list[Turn]] = [[] for _ in work]
        self._closing = self._leaving = False
        # daemons: where one hangs on a server, the process still ends, and the ledger knows what was not done
        for lane, do in enumerate(work):
            for _ in range(ABREAST):
                Thread(target=self._run, args=(lane, do), name=f"lane-{lane}", daemon=True).start()

    def add(self, tenant: str, documents: tuple[str, ...]) -> None:
        """These documents wait for the first lane."""
        with self._changed:
            self._backlogs[0].add(tenant, documents)
            self._changed.notify_all()

    def held(self, tenant: str) -> frozenset[str]:
        """The tenant's documents that wait for any lane or are in one."""
        with self._changed:
            waiting = {document for backlog in self._backlogs for document in backlog.waiting(tenant)}
            return frozenset(waiting.union(*(turn.documents for turn in chain(*self._working) if turn.tenant == tenant)))

    def counts(self) -> dict[str, int]:
        """Documents that wait for any lane or are in one, by tenant."""
        with self._changed:
            totals = dict[str, int]()
            for counts in (backlog.counts() for backlog in self._backlogs):
                totals |= {tenant: totals.get(tenant, 0) + count for tenant, count in counts.items()}
            for turn in chain(*self._working):
                totals[turn.tenant] = totals.get(turn.tenant, 0) + len(turn.documents)
            return totals

    def close(self, patience_s: float) -> bool:
        """Finish what is in hand, at most for so long. Whether everything was finished; what was not is the ledger's."""
        with self._changed:
            self._leaving = True
            self._changed.notify_all()
            finished = self._changed.wait_for(self._idle, patience_s)
            self._closing = True
            self._changed.notify_all()
        return finished

    def _idle(self) -> bool:
        return not any(map(len, self._backlogs)) and not any(self._working)

    def _run(self, lane: int, work: Work) -> None:
        while (turn := self._next(lane)) is not None:
            started = monotonic()
            work(turn)
            self._pass_on(lane, turn, monotonic() - started)

    def _next(self, lane: int) -> Turn | None:
        """The lane's next turn, as soon as there is one; None where the lanes are closed."""
        with self._changed:
            while not self._closing:
                self._linger(lane)
                if turn := self._backlogs[lane].take(but={turn.tenant for turn in self._working[lane]}):
                    self._working[lane].append(turn)
                    return turn
                self._changed.wait()
        return None

    def _linger(self, lane: int) -> None:
        backlog = self._backlogs[lane]
        if lane and lane == len(self._backlogs) - 1 and len(backlog):
            self._changed.wait_for(lambda: self._closing or self._leaving or len(backlog) >= ENOUGH, LINGER_S)

    def _pass_on(self, lane: int, turn: Turn, seconds: float) -> None:
        with self._changed:
            self._working[lane].remove(turn)
            self._backlogs[lane].took(turn, seconds)
            if lane + 1 < len(self._backlogs):
                self._backlogs[lane + 1].add(turn.tenant, turn.documents)
            self._changed.notify_all()
