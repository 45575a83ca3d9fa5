"""The stream as Dagster shows it: an asset that nobody materializes by hand, with its lag as a plot, and what a micro-batch is told as.

The stream itself is `pipelines.stream.engine`; what it tells, and when, is `pipelines.dagster.reporter`. Nothing heavy here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import dagster as dg

from assets import metadata
from assets.picture import lines
from assets.runtime import Landed, StageCounts
from assets.stages import ARROWS, GROUP, named

if TYPE_CHECKING:
    from core.ledger.stage import Report

STREAM = dg.AssetSpec(
    "stream",
    description="The stream: long-lived runs of the job `stream`, one per slot, which take events along the whole way within a second of "
    "their publication.\n\n"
    "`stream_sensor` keeps as many alive as the setting `stream.slots` says, and the check `stream_slots` fails when it cannot. "
    "What the stream does is told as materializations of the assets of `documents_to_index`, by tenant: each merges the micro-batches "
    "since the one before, at most one in 15 seconds for an asset and tenant, fewer where there are many tenants.\n\n"
    "**Reading an observation.** `lag` shows the tenants that are furthest behind, each on its own scale: *events* are in the "
    "tenant's topic and have not landed, *in hand* are documents that have landed and are on their way through the stages. "
    "The numbers are one slot's, and under Plots each is a line over time. "
    "`waits for` says which stage or server holds things up. An observation comes every 30 seconds, every 5 minutes while nothing lags.",
    kinds={"kafka", "postgres"},
    group_name=GROUP,
    tags={"headrace/holds": "counts"},
)

TENANTS_SHOWN = 20
_ASSETS = {stage: arrow.asset for arrow in ARROWS for stage in arrow.stages} | {"land": "document_events"}
_STAGES = {arrow.asset: arrow.stages for arrow in ARROWS}


class Heartbeat(Protocol):
    """What one slot has before it now, as `pipelines.stream.observer.Heartbeat` says it."""

    @property
    def slot(self) -> str: ...

    @property
    def tenants(self) -> int: ...

    @property
    def partitions(self) -> int: ...

    @property
    def waiting(self) -> Mapping[str, int]: ...

    @property
    def lag(self) -> Mapping[str, int]: ...

    @property
    def waits(self) -> Mapping[str, str]: ...


def asset_of(stage: str) -> str:
    """The asset that a stage's work is told of; `land` is one."""
    return _ASSETS[stage]


def landing(tenant: str, landed: Landed, now: StageCounts, seconds: float, beside: Mapping[str, Any]) -> dg.AssetMaterialization:
    """What landed in some micro-batches, as `document_events` tells it; `beside` is what only a stream knows."""
    return _materialization("document_events", tenant, metadata.of_landing(landed, now, seconds) | dict(beside))


def work(
    asset: str, tenant: str, reports: Mapping[str, Report], now: Mapping[str, StageCounts], beside: Mapping[str, Any]
) -> dg.AssetMaterialization:
    """What an asset's stages did in some micro-batches, by stage, as the asset itself tells it."""
    told: dict[str, Any] = {}
    for stage in (stage for stage in _STAGES[asset] if stage in reports):
        described = metadata.of_stage(reports[stage], now[stage])
        told |= named(described, stage) if len(_STAGES[asset]) > 1 else described
    return _materialization(asset, tenant, told | dict(beside))


def _materialization(asset: str, tenant: str, told: Mapping[str, Any]) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(asset, description=f"{tenant}: by the stream", partition=tenant, metadata=told)


def lag(history: Sequence[Heartbeat], every_s: float) -> dg.AssetObservation:
    """How far behind one slot's tenants are, by its beats, one in `every_s` seconds, the newest last: a picture, and numbers to plot."""
    now = history[-1]
    behind = {tenant for counts in (now.lag, now.waiting) for tenant, count in counts.items() if count}
    told: dict[str, Any] = {
        "lag": dg.MetadataValue.md(_picture(history, every_s)),
        f"events behind/{now.slot}": sum(now.lag.values()),
        f"documents in hand/{now.slot}": sum(now.waiting.values()),
        f"tenants behind/{now.slot}": len(behind),
        "slot": now.slot,
        f"partitions/{now.slot}": now.partitions,
    }
    if now.waits:
        told["waits for"] = dg.MetadataValue.md("\n".join(f"- `{what}`: {why}" for what, why in sorted(now.waits.items())))
    return dg.AssetObservation(STREAM.key, description=f"{now.slot}: {_words(now, behind)}", metadata=told)


def _words(now: Heartbeat, behind: set[str]) -> str:
    if not behind:
        return "nothing lags."
    return f"{sum(now.lag.values())} events behind, {sum(now.waiting.values())} documents in hand, of {len(behind)} tenants."


def _picture(history: Sequence[Heartbeat], every_s: float) -> str:
    """The worst first: by what they lag now, then by the most that they did."""
    most = {tenant: max(_of(beat, tenant) for beat in history) for tenant in {t for beat in history for t in (*beat.lag, *beat.waiting)}}
    lagging = sorted((tenant for tenant in most if most[tenant]), key=lambda tenant: (-_of(history[-1], tenant), -most[tenant], tenant))
    if not lagging:
        return "No tenant lags, and none did in the last minutes."
    shown = lagging[:TENANTS_SHOWN]
    rows = [(tenant, [_of(beat, tenant) for beat in history], _beside(history[-1], tenant, most[tenant])) for tenant in shown]
    left_out = f", {len(lagging) - TENANTS_SHOWN} more tenants are not shown" if len(lagging) > TENANTS_SHOWN else ""
    minutes = max(1, round((len(history) - 1) * every_s / 60))
    return lines(rows, f"Events and documents behind over {minutes} minutes, now at the right, each tenant on its own scale{left_out}")


def _of(beat: Heartbeat, tenant: str) -> int:
    return beat.lag.get(tenant, 0) + beat.waiting.get(tenant, 0)


def _beside(beat: Heartbeat, tenant: str, most: int) -> str:
    return f"{beat.lag.get(tenant, 0)} events, {beat.waiting.get(tenant, 0)} in hand; {most} at the most"
