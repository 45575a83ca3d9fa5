"""What observes a stream: the terminal, Dagster, the metrics page, the registry of slots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.ledger.stage import Report
    from events.landing import Landed


@dataclass(frozen=True)
class Heartbeat:
    """A sign of life. `waiting`: documents in flight by tenant; `lag`: events not landed by tenant, of this member's partitions;
    `waits`: the server or stage that is unavailable, and why."""

    slot: str
    tenants: int
    partitions: int
    waiting: Mapping[str, int]
    lag: Mapping[str, int]
    waits: Mapping[str, str]


class Observer:
    """Is told what a stream does; every method may be called from any of its threads. This one ignores it all.

    `noted`: how many tenants are followed (`following`), each micro-batch (`tenant` and counts), tenants with an error (`tenant`, `error`),
    and what is unavailable (`waits`, with the `stage` if it is one's). `landed` and `ran` have the same micro-batches in full.
    """

    def noted(self, event: dict[str, Any]) -> None: ...

    def landed(self, tenant: str, landed: Landed, seconds: float) -> None: ...

    def ran(self, tenant: str, report: Report) -> None: ...

    def heartbeat(self, beat: Heartbeat) -> None: ...


class Observers(Observer):
    """Several observers, as one."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def noted(self, event: dict[str, Any]) -> None:
        for observer in self._observers:
            observer.noted(event)

    def landed(self, tenant: str, landed: Landed, seconds: float) -> None:
        for observer in self._observers:
            observer.landed(tenant, landed, seconds)

    def ran(self, tenant: str, report: Report) -> None:
        for observer in self._observers:
            observer.ran(tenant, report)

    def heartbeat(self, beat: Heartbeat) -> None:
        for observer in self._observers:
            observer.heartbeat(beat)
