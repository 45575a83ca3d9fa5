"""The stream: micro-batches land as records arrive, and every stage takes what they made stale. Models stay warm.

The same stages and the same ledger as a materialization; SIGTERM and Ctrl-C finish the batch in hand.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Event as Flag
from threading import Timer
from time import perf_counter
from types import FrameType
from typing import Any

from events.contract import tenant_of
from pipelines.app import Headrace
from pipelines.way import NAMES

Told = Callable[[dict[str, Any]], None]


def run(headrace: Headrace, seconds: float | None = None, told: Told | None = None) -> dict[str, int]:
    """Stream every tenant until a signal, or for `seconds`. `told` hears of each micro-batch; gives the totals."""
    totals: Counter[str] = Counter()
    with stopped_by_signals() as stop, _ending_after(seconds, stop):
        _drain(headrace)
        for batch in headrace.reader.follow(lambda: positions(headrace), stop):
            tenant, started = tenant_of(batch.topic), perf_counter()
            landed = headrace.land_batch(tenant, batch)
            outcome = Counter({"events": landed.events}) + advance(headrace, tenant)
            totals.update(outcome)
            if told and landed.events:
                told({"tenant": tenant, **outcome, "seconds": round(perf_counter() - started, 3)})
    return dict(totals)


def positions(headrace: Headrace) -> dict[tuple[str, int], int]:
    """Every tenant's positions, so that new tenants' topics join without a restart."""
    found: dict[tuple[str, int], int] = {}
    for tenant in headrace.tenants():
        found |= headrace.positions(tenant.tenant)
    return found


def advance(headrace: Headrace, tenant: str) -> Counter[str]:
    """Run every stage once over what is stale for this tenant."""
    reports = {name: headrace.run(tenant, name) for name in NAMES}
    outcome = Counter(indexed=reports["index"].done, deleted=reports["index"].deleted)
    outcome["failed"] = sum(report.failed for report in reports.values())
    return +outcome


def _drain(headrace: Headrace) -> None:
    """What an earlier process landed and did not finish comes first."""
    for tenant in headrace.tenants():
        advance(headrace, tenant.tenant)


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
