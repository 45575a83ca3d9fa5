"""What a stream reports to Dagster: materializations that merge micro-batches, lag as a plot, waits and errors in the run's log.

The stream's threads only store what happened; another thread reports it, so that a slow or unavailable event log delays no document. This
module decides how often, `assets.stream` how a report looks.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic, sleep
from typing import Any

import dagster as dg

from assets import maintenance, stream
from assets.runtime import Landed
from core.errors import TenantError, Unavailable, described
from core.ledger.stage import Report
from pipelines.dagster.runtime import Runtime
from pipelines.dagster.throttle import Throttle
from pipelines.stream.observer import Heartbeat, Observer

EVERY_S = 15.0
"""Minimum seconds between two materializations of an asset and tenant."""

PER_S, BURST = 5.0, 50
"""Materializations a second on average, over all slots: an event log can store 160 a second, a person can read fewer than 5."""

LAG_S, QUIET_S = 30.0, 300.0
"""Minimum seconds between two observations of the stream; `QUIET_S` while nothing lags."""

BEAT_S, BEATS = 10.0, 60
"""Minimum seconds between two points of the plot, and the number of points: ten minutes."""

LATENCIES = 4096
"""Percentiles are computed over at most this many documents of a materialization, the newest, to bound memory while the event log is
unavailable."""

FINISH_S = 20.0

Event = dg.AssetMaterialization | dg.AssetObservation
Key = tuple[str, str]
"""Asset and tenant."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """What one asset did for one tenant in some micro-batches: its stages' reports, or what landed, in `seconds`.

    Of the asset `maintenance`: the counts of the tasks that an idle stream ran.
    """

    reports: Mapping[str, Report] = field(default_factory=dict)
    events: int = 0
    fates: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    maintenance: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    batches: int = 1

    def followed_by(self, later: Part) -> Part:
        """Both as one: counts add up, what is unavailable is the later one's."""
        stages = dict.fromkeys([*self.reports, *later.reports])
        return Part(
            {stage: _one(self.reports.get(stage), later.reports.get(stage)) for stage in stages},
            self.events + later.events,
            self.fates + later.fates,
            self.reasons + later.reasons,
            self.maintenance + later.maintenance,
            self.seconds + later.seconds,
            self.batches + later.batches,
        )


def _one(before: Report | None, after: Report | None) -> Report:
    report = before.followed_by(after) if before and after else after or before
    assert report is not None
    return replace(report, latencies=report.latencies[-LATENCIES:])


class Reporter(Observer):
    """Observes the stream of one of `slots` slots. Another thread calls `report` every second or so, and `finish` at the end."""

    def __init__(self, headrace: Runtime, emit: Callable[[Event], None], log: Callable[[int, str], None], slots: int = 1) -> None:
        self._headrace, self._emit, self._write = headrace, emit, log
        self._parts: Throttle[Key, Part] = Throttle(Part.followed_by, EVERY_S, PER_S / max(1, slots), BURST)
        self._messages: deque[tuple[int, str]] = deque(maxlen=1000)
        self._now: Heartbeat | None = None
        self._beats: deque[Heartbeat] = deque(maxlen=BEATS)
        self._beat_at = self._lag_at = float("-inf")

    def noted(self, event: dict[str, Any]) -> None:
        if "waits" in event or "error" in event:
            self._messages.append((logging.WARNING, ", ".join(f"{name}: {value}" for name, value in event.items())))
        elif "following" in event:
            self._messages.append((logging.INFO, f"{event['following']} tenants are followed"))

    def landed(self, tenant: str, landed: Landed, seconds: float) -> None:
        if landed.events:
            part = Part(events=landed.events, fates=Counter(landed.fates), reasons=Counter(landed.reasons), seconds=seconds)
            self._parts.add((stream.asset_of("land"), tenant), part)

    def ran(self, tenant: str, report: Report) -> None:
        if report.moved or report.superseded or report.revalidated:
            self._parts.add((stream.asset_of(report.stage), tenant), Part({report.stage: report}))

    def maintained(self, tenant: str, counts: Mapping[str, int]) -> None:
        self._parts.add((maintenance.NAME, tenant), Part(maintenance=Counter(counts)))

    def heartbeat(self, beat: Heartbeat) -> None:
        self._now = beat

    def report(self, now: float) -> None:
        """Report what is due at `now`, in seconds of a monotonic clock. What fails is reported later."""
        self._report_messages()
        self._report_parts(self._parts.due(now))
        self._report_lag(now)

    def finish(self) -> None:
        """Report all that is left. If the event log does not answer for 20 s, the process's own log says how much was lost."""
        until, left = monotonic() + FINISH_S, self._parts.rest()
        self._report_messages()
        self._report_parts(left)
        while (left := self._parts.rest()) and monotonic() < until:
            sleep(1)
            self._report_parts(left)
        if left:
            _log.error("%d materializations of the stream could not be reported", len(left))

    def _report_messages(self) -> None:
        while self._messages:
            if not _done(partial(self._write, *self._messages[0])):
                return
            self._messages.popleft()

    def _report_parts(self, parts: Sequence[tuple[Key, Part]]) -> None:
        """Report in order. If a server fails, stop: every other part would wait until it times out. One tenant's error delays no other."""
        for number, (key, part) in enumerate(parts):
            try:
                event = self._event(key, part)
            except TenantError:
                continue  # the tenant was removed
            except Unavailable:
                return self._put_back(parts[number:])
            except Exception as error:  # noqa: BLE001 - what this tenant's rows or settings bring out
                _log.warning("%s of tenant %s cannot be reported now: %s", *key, described(error).reason)
                self._put_back([(key, part)])
                continue
            if not _done(partial(self._emit, event)):
                return self._put_back(parts[number:])
        return None

    def _put_back(self, parts: Sequence[tuple[Key, Part]]) -> None:
        for key, part in parts:
            self._parts.put_back(key, part)

    def _event(self, key: Key, part: Part) -> Event:
        asset, tenant = key
        lag = {"lag/events": self._now.lag.get(tenant, 0)} if self._now else {}
        beside = {"stream/micro_batches": part.batches, **lag}
        if part.events:
            return stream.landing(tenant, part, self._headrace.stage_counts(tenant, "land"), part.seconds, beside)
        if part.maintenance:
            return stream.upkeep(tenant, part.maintenance, self._headrace.maintenance_due(tenant), lag)
        now = {stage: self._headrace.stage_counts(tenant, stage) for stage in part.reports}
        return stream.work(asset, tenant, part.reports, now, beside)

    def _report_lag(self, now: float) -> None:
        if self._now is None:
            return
        if now - self._beat_at >= BEAT_S or not self._beats:
            self._beat_at = now
            self._beats.append(self._now)
        behind = any(any(beat.lag.values()) or any(beat.waiting.values()) or beat.waits for beat in self._beats)
        if now - self._lag_at >= (LAG_S if behind else QUIET_S):
            self._lag_at = now
            _done(lambda: self._emit(stream.lag([*self._beats, self._now], BEAT_S)))  # type: ignore[list-item]


def _done(report: Callable[[], None]) -> bool:
    """Whether it was reported. Any server may be unavailable, Dagster's own too."""
    try:
        report()
    except Exception as error:  # noqa: BLE001 an event log raises whatever its driver does
        _log.warning("cannot report to Dagster now: %s", type(error).__name__)
        return False
    return True
