"""What a stream tells of itself: to the terminal, to Dagster, to the metrics page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.ledger.stage import Report
    from events.landing import Landed


@dataclass(frozen=True)
class Beat:
    """A sign of life. `waiting`: documents in hand by tenant; `lag`: events not landed by tenant, of this member's partitions;
    `waits`: the server or stage that is waited for, and why."""

    slot: str
    tenants: int
    partitions: int
    waiting: Mapping[str, int]
    lag: Mapping[str, int]
    waits: Mapping[str, str]


class Listener:
    """Hears what a stream does; every method may be called from any of its threads. This one hears nothing.

    `said`: how many tenants are followed (`following`), each micro-batch (`tenant` and counts), tenants in trouble (`tenant`, `error`), and
    what is waited for (`waits`, with the `stage` where it is one's). `landed` and `ran` tell the same micro-batches whole.
    """

    def said(self, what: dict[str, Any]) -> None: ...

    def landed(self, tenant: str, landed: Landed, seconds: float) -> None: ...

    def ran(self, tenant: str, report: Report) -> None: ...

    def beat(self, beat: Beat) -> None: ...


class Listeners(Listener):
    """Several listeners, as one."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def said(self, what: dict[str, Any]) -> None:
        for one in self._listeners:
            one.said(what)

    def landed(self, tenant: str, landed: Landed, seconds: float) -> None:
        for one in self._listeners:
            one.landed(tenant, landed, seconds)

    def ran(self, tenant: str, report: Report) -> None:
        for one in self._listeners:
            one.ran(tenant, report)

    def beat(self, beat: Beat) -> None:
        for one in self._listeners:
            one.beat(beat)
