"""The stream: micro-batches land as records arrive, and every stage takes what they made stale. Models stay warm.

The same stages and the same ledger as a materialization, so that both may run at once. Here is what keeps a long-lived process going:
a server that is away is waited for, a tenant in trouble does not hold up its neighbours, SIGTERM and Ctrl-C finish the batch in hand.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from threading import Event as Flag
from threading import Timer
from time import monotonic, perf_counter
from types import FrameType
from typing import Any

from core.errors import ConfigurationError, HeadraceError, Unavailable
from core.stage import Progress, Report
from events.batches import Batch, Place
from events.contract import tenant_of
from pipelines.app import Headrace
from pipelines.way import NAMES

Told = Callable[[dict[str, Any]], None]

MAX_RECORDS = 64
"""So that the batch in hand is done within seconds, and a new tenant waits no longer than that behind a busy one."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0


def run(headrace: Headrace, seconds: float | None = None, told: Told = lambda _: None) -> dict[str, int]:
    """Stream every tenant until a signal, or for `seconds`; gives the totals.

    `told` hears how many tenants are followed (`following`), of each micro-batch (`tenant` and counts), of tenants in trouble (`tenant`,
    `error`), and of what is waited for (`waits`, with the `stage` where it is one's).
    Raises ConfigurationError; everything else that may pass is waited for.
    """
    with stopped_by_signals() as stop, _ending_after(seconds, stop):
        headrace.models.embedder.check_limit(headrace.settings.chunking.max_tokens)  # loads it: the first document need not wait
        stream = Stream(headrace, stop, told)
        stream.run()
    return dict(stream.totals)


class Pause:
    """How long to leave a server alone that does not answer: twice as long each time."""

    def __init__(self) -> None:
        self._seconds = FIRST_PAUSE_S
        self._until = 0.0

    @property
    def over(self) -> bool:
        return monotonic() >= self._until

    def lengthen(self) -> float:
        """Begin the next pause; gives its seconds."""
        now, self._seconds = self._seconds, min(2 * self._seconds, LONGEST_PAUSE_S)
        self._until = monotonic() + now
        return now


class Stream:
    """One stream over all tenants. Single-threaded, as `events.kafka.Reader` is: while it follows, it alone uses the reader."""

    def __init__(self, headrace: Headrace, stop: Flag, told: Told) -> None:
        self.totals: Counter[str] = Counter()
        self._headrace, self._stop, self._told = headrace, stop, told
        self._pauses: dict[str, Pause] = {}
        self._troubles: set[tuple[str, str]] = set()
        self._first = True
        self._following: int | None = None

    def run(self) -> None:
        pause = Pause()
        while not self._stop.is_set():
            try:
                with closing(self._headrace.reader.follow(self._positions, self._stop, max_records=MAX_RECORDS)) as batches:
                    for batch in batches:
                        pause = Pause()
                        self._take(batch)
            except Unavailable as error:
                # positions are in Postgres: following again goes on exactly where it was
                self._told({"waits": error.detail})
                self._stop.wait(pause.lengthen())

    def _positions(self) -> dict[Place, int]:
        """Every tenant's positions: new tenants' topics join and removed ones leave without a restart.

        The reader asks every few seconds, and in between is when what was left over gets its turn.
        """
        tenants = [tenant.tenant for tenant in self._headrace.tenants()]
        self._tend(tenants)
        found: dict[Place, int] = {}
        for tenant in tenants:
            with self._apart(tenant):
                found |= self._headrace.positions(tenant)
        if len(tenants) != self._following:
            self._following = len(tenants)
            self._told({"following": self._following})
        return found

    def _take(self, batch: Batch) -> None:
        tenant, started = tenant_of(batch.topic), perf_counter()
        with self._apart(tenant):
            landed = self._headrace.land_batch(tenant, batch)
            self._tell(tenant, Counter(events=landed.events) + self._advance(tenant), started)

    def _tend(self, tenants: Iterable[str]) -> None:
        """Run what no event will start: what an earlier process left, what waited for a server, what was replayed."""
        for tenant in tenants:
            with self._apart(tenant):
                if not self._stop.is_set() and (self._first or self._headrace.due(tenant)):
                    started = perf_counter()
                    self._tell(tenant, self._advance(tenant, self._halt_if_stopped), started)
        # the first time by every stage's own account: its fingerprint may be another one than the last process had
        self._first = False

    def _advance(self, tenant: str, progress: Progress = lambda _: None) -> Counter[str]:
        """Run every stage once over what is stale for this tenant; a stage whose server is away is left out for a while."""
        outcome: Counter[str] = Counter()
        for name in NAMES:
            if self._pauses.get(name, _NO_PAUSE).over:
                report = self._run(tenant, name, progress)
                self._note(report)
                outcome["failed"] += report.failed
                if name == "index":
                    outcome.update(indexed=report.done, deleted=report.deleted)
        return +outcome

    def _run(self, tenant: str, stage: str, progress: Progress) -> Report:
        try:
            return self._headrace.run(tenant, stage, progress)
        except Unavailable as error:  # before the stage began: its model cannot be fetched
            return Report(stage, tenant, unavailable=error.detail)
        except ConfigurationError:
            raise
        except HeadraceError as error:  # its index was built with another model: what needs none, deletes first of all, goes on
            self._note_trouble(tenant, error)
            return Report(stage, tenant)

    def _note(self, report: Report) -> None:
        """Remember which stage to leave alone until its server is back."""
        if not report.unavailable:
            self._pauses.pop(report.stage, None)
            return
        self._headrace.tenants()  # where it is Postgres that is away, nothing else is worth trying
        if report.stage not in self._pauses:
            self._told({"stage": report.stage, "waits": report.unavailable})
        self._pauses.setdefault(report.stage, Pause()).lengthen()

    @contextmanager
    def _apart(self, tenant: str) -> Iterator[None]:
        """One tenant's trouble (removed meanwhile, its topic gone, a wrong key) is told once and tried again; its neighbours go on."""
        try:
            yield
        except (Unavailable, ConfigurationError):
            raise
        except _Stopped:
            return
        except HeadraceError as error:
            self._note_trouble(tenant, error)

    def _note_trouble(self, tenant: str, error: HeadraceError) -> None:
        if (tenant, error.reason) not in self._troubles:
            self._told({"tenant": tenant, "error": error.reason})
        self._troubles.add((tenant, error.reason))

    def _halt_if_stopped(self, _: Report) -> None:
        if self._stop.is_set():
            raise _Stopped

    def _tell(self, tenant: str, outcome: Counter[str], started: float) -> None:
        self.totals.update(outcome)
        if outcome:
            self._told({"tenant": tenant, **outcome, "seconds": round(perf_counter() - started, 3)})


class _Stopped(Exception):
    """The end was asked for between two batches of a backlog; the ledger knows where to go on."""


_NO_PAUSE = Pause()


@contextmanager
def stopped_by_signals() -> Iterator[Flag]:
    """A flag that SIGTERM and SIGINT set; the handlers before are put back."""
    stop = Flag()

    def handle(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    before: Mapping[int, Any] = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _ending_after(seconds: float | None, stop: Flag) -> Iterator[None]:
    timer = Timer(seconds, stop.set) if seconds is not None else None
    if timer:
        timer.start()
    try:
        yield
    finally:
        if timer:
            timer.cancel()
