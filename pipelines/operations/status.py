"""The state of every tenant at a glance: sizes, lag, throughput, failures, freshness, maintenance that is due.

Slots are in `pipelines.stream.slots`; the state of one document is in `pipelines.operations.explain`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn, TypeVar

import msgspec

from core.errors import HeadraceError, Unavailable, described
from core.freshness import target_s
from core.sql import statements
from core.tenancy import Connection, Tenant
from pipelines import maintenance
from pipelines.each_tenant import Attempt, each_tenant, row
from pipelines.operations import lag
from pipelines.resources import Resources

T = TypeVar("T")

WITHIN_S = 300.0
"""The window of the rates, in seconds."""


class TenantSizes(msgspec.Struct, frozen=True):
    """A tenant's sizes. `documents` are live; `chunks` and `indexed` are those of the active generation; `dead_letters` are open.

    `empty`: of `indexed`, documents without passages. `not_indexed`: documents that landed and are neither in the index nor known to have
    failed.
    """

    tenant: str
    documents: int
    tombstones: int
    last_landed: datetime | None
    chunks: int
    indexed: int
    empty: int
    dead_letters: int
    not_indexed: int


class TenantOverview(TenantSizes, frozen=True):
    """`oldest_not_indexed`: when the oldest document that is not indexed was published."""

    oldest_not_indexed: datetime | None


class TenantStatus(TenantSizes, frozen=True):
    """A tenant's sizes and state.

    `not_landed`: events in Kafka, None if Kafka does not say. `oldest_unprocessed`: when the oldest event that is not searchable was
    published, and `lag_s`, its age in seconds: 0 if nothing waits, None if it is not known. `landed_per_min` and `indexed_per_min`: over
    the last `WITHIN_S` seconds. `failures`: open dead letters by reason. `outcomes_waiting`: decided, not published. `freshness_seconds`:
    the target, None if the configured one is not valid. `fresh`: whether the target is met, None if it is not known. `maintenance`: the
    tasks of `pipelines.maintenance` that are due; empty if that is not known. `error`: why something is not known, None if all is.
    """

    not_landed: int | None
    oldest_unprocessed: datetime | None
    lag_s: float | None
    landed_per_min: float
    indexed_per_min: float
    failures: Mapping[str, int]
    outcomes_waiting: int
    freshness_seconds: float | None
    fresh: bool | None
    maintenance: tuple[str, ...]
    error: Mapping[str, Any] | None


def overview(resources: Resources, tenant: str) -> TenantOverview:
    """The tenant's sizes as of now."""
    with resources.database.tenant(tenant) as connection:
        landed = lag.landed(connection)
        return TenantOverview(tenant, **_sizes(connection), not_indexed=landed["documents"], oldest_not_indexed=landed["oldest"])


def tenants(resources: Resources) -> list[Attempt[TenantStatus]]:
    """Every tenant, by name; a few queries each, and a few requests to Kafka for all of them. Raises Unavailable without Postgres."""
    active = resources.tenants()
    unlanded = _unlanded(resources, active)
    return list(each_tenant(resources, lambda tenant: _status(resources, tenant, unlanded), active))


def _unlanded(resources: Resources, active: Sequence[Tenant]) -> Mapping[str, lag.Unlanded] | None:
    """What waits in Kafka, by tenant; None if Kafka does not answer at all."""
    try:
        return lag.unlanded(resources, [tenant.tenant for tenant in active])
    except HeadraceError:
        return None


def _status(resources: Resources, tenant: Tenant, unlanded: Mapping[str, lag.Unlanded] | None) -> TenantStatus:
    waiting, troubles = (unlanded or {}).get(tenant.tenant), list[HeadraceError]()
    with resources.database.tenant(tenant.tenant) as connection:
        behind = lag.combined(waiting, connection)
        counted = {**_sizes(connection), **_rates(connection)}
    if unlanded is not None and waiting is None:
        _asked(lambda: _explain_silence(resources, tenant.tenant), troubles)
    target = _asked(lambda: target_s(tenant.configuration), troubles)
    due = _asked(lambda: maintenance.due(resources, resources.session(tenant.tenant)), troubles)
    seconds = behind.seconds
    return TenantStatus(
        tenant=tenant.tenant,
        **counted,
        not_indexed=behind.documents,
        not_landed=behind.events,
        oldest_unprocessed=behind.oldest,
        lag_s=None if seconds is None else round(seconds, 1),
        freshness_seconds=target,
        fresh=None if target is None else behind.fresh(target),
        maintenance=tuple(due or ()),
        error=row(troubles[0]) if troubles else None,
    )


def _asked(question: Callable[[], T], troubles: list[HeadraceError]) -> T | None:
    """The answer, or None and one more trouble: it must not hide the rest of the status."""
    try:
        return question()
    except Exception as error:  # noqa: BLE001 - as `each_tenant`
        troubles.append(described(error))
        return None


def _explain_silence(resources: Resources, tenant: str) -> NoReturn:
    """Raises the reason why Kafka said nothing about the tenant's topic: `unknown-topic`, or a partition that it does not answer for."""
    from events.contract import topic_of

    topic = topic_of(tenant)
    resources.topics.id_of(topic)
    raise Unavailable(f"Kafka does not answer for every partition of {topic}", remedy="`headrace doctor` says more.")


def _sizes(connection: Connection) -> dict[str, Any]:
    return {**_one(connection, "documents"), **_one(connection, "index_size")}


def _rates(connection: Connection) -> dict[str, Any]:
    rates = _one(connection, "rates", within_s=WITHIN_S)
    return {
        "landed_per_min": round(60 * rates["landed"] / WITHIN_S, 1),
        "indexed_per_min": round(60 * rates["indexed"] / WITHIN_S, 1),
        "failures": {row["reason"]: row["letters"] for row in connection.execute(_SQL["failures"])},
        "outcomes_waiting": rates["outcomes_waiting"],
    }


def _one(connection: Connection, name: str, **values: Any) -> dict[str, Any]:
    return connection.execute(_SQL[name], values).fetchall()[0]


_SQL = statements("pipelines.operations", "sql/status.sql")
