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
    """Receives what a stream does. Every method may be called from any of its threads. This class ignores everything.

    `noted`: how many tenants are followed (`following`), each micro-batch (`tenant` and counts), maintenance that changed something
    (`tenant`, `maintenance`), tenants with an error (`tenant`, `error`), and what is unavailable (`waits`, with the `stage` that waits).
    `landed` and `ran` have the same micro-batches in full. `maintained`: the counts of the tasks that ran while the stream was idle, as
    `<task>/<count>` → number, zeros left out; the counts of tasks that follow a stage are in that stage's report.
    """

    def noted(self, event: dict[str, Any]) -> None: ...

    def landed(self, tenant: str, landed: Landed, seconds: float) -> None: ...

    def ran(self, tenant: str, report: Report) -> None: ...

    def maintained(self, tenant: str, counts: Mapping[str, int]) -> None: ...

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

    def maintained(self, tenant: str, counts: Mapping[str, int]) -> None:
        for observer in self._observers:
            observer.maintained(tenant, counts)

    def heartbeat(self, beat: Heartbeat) -> None:
        for observer in self._observers:
            observer.heartbeat(beat)
