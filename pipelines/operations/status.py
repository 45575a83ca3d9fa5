"""The state of servers, tenants and slots: of each tenant sizes, lag, throughput, failures, freshness, and maintenance that is due.

The state of one document is in `pipelines.operations.explain`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import msgspec

from core.errors import HeadraceError, Unavailable, described
from core.freshness import target_s
from core.sql import statements
from core.tenancy import Connection, Tenant
from pipelines import maintenance
from pipelines.each_tenant import Attempt, Trouble, each_tenant, trouble
from pipelines.operations import lag
from pipelines.operations.sizes import StorageSizes, sizes
from pipelines.resources import Resources
from pipelines.stream.slots import Slot

if TYPE_CHECKING:
    from core.config import Settings
    from services import ServiceStatus

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


class TenantStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's sizes, as in `TenantSizes`, and state. Of a tenant that could not be read: its name and `error`, else None.

    `not_landed`: events in Kafka, None if Kafka does not say. `oldest_unprocessed`: when the oldest event that is not searchable was
    published, and `lag_s`, its age in seconds: 0 if nothing waits, None if it is not known. `landed_per_min` and `indexed_per_min`: over
    the last `WITHIN_S` seconds. `failures`: open dead letters by reason. `outcomes_waiting`: decided, not published. `freshness_seconds`:
    the target, None if the configured one is not valid. `fresh`: whether the target is met, None if it is not known. `maintenance`: the
    tasks of `pipelines.maintenance` that are due; empty if that is not known. `error`: why something is not known, None if all is.
    """

    tenant: str
    documents: int | None = None
    tombstones: int | None = None
    last_landed: datetime | None = None
    chunks: int | None = None
    indexed: int | None = None
    empty: int | None = None
    dead_letters: int | None = None
    not_indexed: int | None = None
    not_landed: int | None = None
    oldest_unprocessed: datetime | None = None
    lag_s: float | None = None
    landed_per_min: float | None = None
    indexed_per_min: float | None = None
    failures: Mapping[str, int] | None = None
    outcomes_waiting: int | None = None
    freshness_seconds: float | None = None
    fresh: bool | None = None
    maintenance: tuple[str, ...] = ()
    error: Trouble | None = None


class ServerStatus(msgspec.Struct, frozen=True):
    """A server, as in `services.ServiceStatus`. `memory_mb` in MiB; `log`: a path."""

    server: str
    state: str
    address: str | None
    version: str | None
    pid: int | None
    memory_mb: int | None
    log: str | None


class Status(msgspec.Struct, frozen=True):
    """The whole answer of `headrace status`. `tenants` and `slots` are None if Postgres is unavailable; `unavailable` has the reason.

    `sizes`: of the tenants that could be read, if they were asked for.
    """

    servers: Sequence[ServerStatus]
    tenants: Sequence[TenantStatus] | None = None
    slots: Sequence[Slot] | None = None
    unavailable: str | None = None
    sizes: Sequence[StorageSizes] | None = None


def servers(settings: Settings) -> list[ServerStatus]:
    """Each server's state. None of those given by URL is asked."""
    import services

    return [_server(found) for found in services.status(settings)]


def _server(found: ServiceStatus) -> ServerStatus:
    memory_mb = found.memory_bytes and found.memory_bytes // 1024**2
    log = str(found.log) if found.log else None
    return ServerStatus(found.name, found.state, found.address, found.version, found.pid, memory_mb, log)


def of_attempt(made: Attempt[TenantStatus]) -> TenantStatus:
    """The tenant's status, or its name and error if it could not be read."""
    return made.result or TenantStatus(tenant=made.tenant, error=made.trouble)


def overview(resources: Resources, tenant: str) -> TenantOverview:
    """The tenant's sizes as of now."""
    with resources.database.tenant(tenant) as connection:
        landed = lag.landed(connection)
        return TenantOverview(tenant, **_sizes(connection), not_indexed=landed["documents"], oldest_not_indexed=landed["oldest"])


def storage(resources: Resources) -> list[StorageSizes]:
    """What each tenant's tables take, by name. Leaves out tenants that cannot be read: `tenants` says why."""
    return [
        made.result for made in each_tenant(resources, lambda tenant: sizes(resources, tenant.tenant), resources.tenants()) if made.result
    ]


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
        error=trouble(troubles[0]) if troubles else None,
    )


def _asked(question: Callable[[], T], troubles: list[HeadraceError]) -> T | None:
    """The answer, or None if it raises, with the error appended to `troubles`: it must not hide the rest of the status."""
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
