"""The stream in Dagster: an asset that is not materialized by hand, observations of its lag, and materializations for its micro-batches.

The stream itself is `pipelines.stream.engine`; what it reports, and when, is decided in `pipelines.dagster.reporter`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import dagster as dg

from assets import maintenance, metadata
from assets.picture import lines
from assets.runtime import Landed, StageCounts
from assets.stages import GROUP, STAGE_ASSETS, prefixed

if TYPE_CHECKING:
    from core.ledger.stage import Report

STREAM = dg.AssetSpec(
    "stream",
    description="The stream: long-lived runs of the job `stream`, one per slot, which take events through the pipeline within a second "
    "of their publication.\n\n"
    "`stream_sensor` keeps as many alive as the setting `stream.slots` says, and the check `stream_slots` fails when it cannot. "
    "The stream reports its work as materializations of the assets of `documents_to_index`, by tenant: each merges the micro-batches "
    "since the previous one, at most one in 15 seconds for an asset and tenant, fewer with many tenants.\n\n"
    "**Reading an observation.** `lag` shows the tenants that are furthest behind, each on its own scale: *events* are in the "
    "tenant's topic and have not landed, *in flight* are documents that have landed and are in progress. "
    "The numbers are one slot's, and under Plots each is a line over time. "
    "`waits for` names the stage or server that delays them. An observation comes every 30 seconds, every 5 minutes while nothing lags.",
    kinds={"kafka", "postgres"},
    group_name=GROUP,
    tags={"headrace/sensitivity": "counts"},
)

TENANTS_SHOWN = 20
_ASSETS = {stage: declared.asset for declared in STAGE_ASSETS for stage in declared.stages} | {"land": "document_events"}
_STAGES = {declared.asset: declared.stages for declared in STAGE_ASSETS}


class Heartbeat(Protocol):
    """One slot's backlog now, as `pipelines.stream.observer.Heartbeat`."""

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
    """The asset that reports a stage's work; `land` is a stage here."""
    return _ASSETS[stage]


def landing(tenant: str, landed: Landed, now: StageCounts, seconds: float, extra: Mapping[str, Any]) -> dg.AssetMaterialization:
    """What landed in some micro-batches, as a materialization of `document_events`; `extra` is metadata that only a stream has."""
    return _materialization("document_events", tenant, metadata.of_landing(landed, now, seconds) | dict(extra))


def work(
    asset: str, tenant: str, reports: Mapping[str, Report], now: Mapping[str, StageCounts], extra: Mapping[str, Any]
) -> dg.AssetMaterialization:
    """What an asset's stages did in some micro-batches, as a materialization of the asset."""
    described: dict[str, Any] = {}
    for stage in (stage for stage in _STAGES[asset] if stage in reports):
        of_stage = metadata.of_stage(reports[stage], now[stage])
        described |= prefixed(of_stage, stage) if len(_STAGES[asset]) > 1 else of_stage
    return _materialization(asset, tenant, described | dict(extra))


def upkeep(tenant: str, counts: Mapping[str, int], due: Sequence[str], extra: Mapping[str, Any]) -> dg.AssetMaterialization:
    """Maintenance tasks that an idle stream ran, `<task>/<count>` → number, as a materialization of `maintenance`."""
    return _materialization(maintenance.NAME, tenant, maintenance.metadata(counts, due) | dict(extra))


def _materialization(asset: str, tenant: str, described: Mapping[str, Any]) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(asset, description=f"{tenant}: by the stream", partition=tenant, metadata=described)


def lag(history: Sequence[Heartbeat], every_s: float) -> dg.AssetObservation:
    """How far behind one slot's tenants are, from its heartbeats, one in `every_s` seconds, the newest last: a picture, and numbers."""
    now = history[-1]
    behind = {tenant for counts in (now.lag, now.waiting) for tenant, count in counts.items() if count}
    described: dict[str, Any] = {
        "lag": dg.MetadataValue.md(_picture(history, every_s)),
        f"events behind/{now.slot}": sum(now.lag.values()),
        f"documents in flight/{now.slot}": sum(now.waiting.values()),
        f"tenants behind/{now.slot}": len(behind),
        "slot": now.slot,
        f"partitions/{now.slot}": now.partitions,
    }
    if now.waits:
        described["waits for"] = dg.MetadataValue.md("\n".join(f"- `{what}`: {why}" for what, why in sorted(now.waits.items())))
    return dg.AssetObservation(STREAM.key, description=f"{now.slot}: {_words(now, behind)}", metadata=described)


def _words(now: Heartbeat, behind: set[str]) -> str:
    if not behind:
        return "nothing lags."
    return f"{sum(now.lag.values())} events behind, {sum(now.waiting.values())} documents in flight, of {len(behind)} tenants."


def _picture(history: Sequence[Heartbeat], every_s: float) -> str:
    """The tenants furthest behind first: by their lag now, then by their highest."""
    most = {tenant: max(_of(beat, tenant) for beat in history) for tenant in {t for beat in history for t in (*beat.lag, *beat.waiting)}}
    lagging = sorted((tenant for tenant in most if most[tenant]), key=lambda tenant: (-_of(history[-1], tenant), -most[tenant], tenant))
    if not lagging:
        return "No tenant lags, and none has in the last minutes."
    shown = lagging[:TENANTS_SHOWN]
    rows = [(tenant, [_of(beat, tenant) for beat in history], _note(history[-1], tenant, most[tenant])) for tenant in shown]
    left_out = f", {len(lagging) - TENANTS_SHOWN} more tenants are not shown" if len(lagging) > TENANTS_SHOWN else ""
    minutes = max(1, round((len(history) - 1) * every_s / 60))
    return lines(rows, f"Events and documents behind over {minutes} minutes, now at the right, each tenant on its own scale{left_out}")


def _of(beat: Heartbeat, tenant: str) -> int:
    return beat.lag.get(tenant, 0) + beat.waiting.get(tenant, 0)


def _note(beat: Heartbeat, tenant: str, most: int) -> str:
    return f"{beat.lag.get(tenant, 0)} events, {beat.waiting.get(tenant, 0)} in flight; {most} at the most"
