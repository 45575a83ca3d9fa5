"""What an operator sees at a glance: each tenant's lag, pace, failures and freshness, and every slot's health."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from core.errors import ConfigurationError, HeadraceError, TenantError
from core.freshness import FRESHNESS, target_s
from core.sql import statements
from core.tenancy import Connection, Tenant
from pipelines.operations import lag
from pipelines.operations.explain import sizes
from pipelines.resources import Resources
from pipelines.stream import slots

WITHIN_S = 300.0
"""Over so many seconds the pace is taken."""


def tenant_rows(resources: Resources) -> list[dict[str, Any]]:
    """Every tenant, by name; a few queries each, and a few questions to Kafka for all of them. Raises Unavailable without Postgres.

    As `operate.overview`, and: `not_landed` (events; None where Kafka does not say), `oldest_unprocessed` (when it was published) and
    `lag_s` (how old that is), `landed_per_min` and `indexed_per_min` (over the last five minutes), `failures` (open dead letters by
    reason), `outcomes_waiting` (decided, not told yet), `freshness_seconds` (the target), `fresh` (None where that is not known).
    """
    tenants = resources.tenants()
    waiting = _unlanded(resources, tenants)
    rows = []
    for tenant in tenants:
        with suppress(TenantError):  # removed in between
            rows.append(_row(resources, tenant, waiting.get(tenant.tenant)))
    return rows


def slot_rows(resources: Resources) -> list[dict[str, Any]]:
    """Every slot of the last day, by name: `pipelines.stream.slots.Slot`. Raises Unavailable."""
    return [vars(slot) for slot in slots.slots(resources)]


def _unlanded(resources: Resources, tenants: list[Tenant]) -> dict[str, lag.Unlanded]:
    try:
        return lag.unlanded(resources, [tenant.tenant for tenant in tenants])
    except HeadraceError:
        return {}


def _row(resources: Resources, tenant: Tenant, waiting: lag.Unlanded | None) -> dict[str, Any]:
    with resources.database.tenant(tenant.tenant) as connection:
        size, behind = sizes(connection), lag.combined(waiting, connection)
        return {"tenant": tenant.tenant, **size, **_told(behind), **_pace(connection), **_freshness(tenant, behind)}


def _told(behind: lag.Lag) -> dict[str, Any]:
    seconds = behind.seconds
    return {
        "not_indexed": behind.documents,
        "not_landed": behind.events,
        "oldest_unprocessed": behind.oldest,
        "lag_s": None if seconds is None else round(seconds, 1),
    }


def _pace(connection: Connection) -> dict[str, Any]:
    pace = connection.execute(_SQL["pace"], {"within_s": WITHIN_S}).fetchall()[0]
    return {
        "landed_per_min": round(60 * pace["landed"] / WITHIN_S, 1),
        "indexed_per_min": round(60 * pace["indexed"] / WITHIN_S, 1),
        "failures": {row["reason"]: row["letters"] for row in connection.execute(_SQL["failures"])},
        "outcomes_waiting": pace["outcomes_waiting"],
    }


def _freshness(tenant: Tenant, behind: lag.Lag) -> dict[str, Any]:
    """The target and whether it is met. A configuration that cannot be read is one tenant's trouble: its check says so."""
    try:
        target = target_s(tenant.configuration)
    except ConfigurationError:
        return {FRESHNESS: None, "fresh": None}
    return {FRESHNESS: target, "fresh": behind.fresh(target)}


_SQL = statements("pipelines.operations", "sql/status.sql")
