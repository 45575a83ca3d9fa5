"""The one loop over tenants: each is attempted by itself, so that one tenant's error does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from core.errors import HeadraceError, TenantError, described
from core.tenancy import PostgresUnavailable, Tenant
from pipelines.resources import Resources

T = TypeVar("T")


class Trouble(msgspec.Struct, frozen=True, rename={"remedy": "next"}):
    """An error as people and programs read it: its reason code, what happened, what to do. JSON has the remedy as `next`."""

    reason: str
    detail: str
    remedy: str


_NAMED = 5


@dataclass(frozen=True)
class Attempt(Generic[T]):
    """The outcome for one tenant: the `result`, or the `error`. An unexpected exception has the reason `bug` and its cause."""

    tenant: str
    result: T | None = None
    error: HeadraceError | None = None

    @property
    def done(self) -> T:
        """The result. Raises the error if there is one."""
        if self.error:
            raise self.error
        return self.result  # type: ignore[return-value]  # without an error there is one, of whatever type T is

    @property
    def trouble(self) -> Trouble | None:
        """The error for people and programs, None without one."""
        return trouble(self.error) if self.error else None

    def __str__(self) -> str:
        return f"{self.tenant}: {self.error or 'done'}"


def each_tenant(resources: Resources, do: Callable[[Tenant], T], tenants: Iterable[Tenant] | None = None) -> Iterator[Attempt[T]]:
    """Run `do` for every tenant, or for these, in order of name; one attempt each. A tenant that is removed meanwhile is left out.

    Once a server does not answer at all, the remaining tenants get its error without an attempt, as each would wait until it times out.
    Raises Unavailable if Postgres does not answer at the beginning.
    """
    outage: HeadraceError | None = None
    for tenant in resources.tenants() if tenants is None else tenants:
        attempt = Attempt[T](tenant.tenant, error=outage) if outage else _attempt(do, tenant)
        if attempt.error and not outage:
            outage = _outage(resources, attempt.error)
            if not outage and _is_gone(resources, tenant):
                continue
        yield attempt


def by_error(made: Iterable[Attempt[Any]]) -> Iterator[tuple[HeadraceError, str]]:
    """Each error once, with the tenants that have it, at most five of them by name."""
    met: dict[str, tuple[HeadraceError, list[str]]] = {}
    for attempt in made:
        if attempt.error:
            met.setdefault(str(attempt.error), (attempt.error, []))[1].append(attempt.tenant)
    for error, tenants in met.values():
        more = f" and {len(tenants) - _NAMED} more" if len(tenants) > _NAMED else ""
        yield error, ", ".join(tenants[:_NAMED]) + more


def trouble(error: HeadraceError) -> Trouble:
    """An error as a record."""
    return Trouble(error.reason, error.detail, error.next_step)


def _attempt(do: Callable[[Tenant], T], tenant: Tenant) -> Attempt[T]:
    try:
        return Attempt(tenant.tenant, do(tenant))
    except Exception as error:  # noqa: BLE001 - an unexpected exception for one tenant must not stop the others
        return Attempt(tenant.tenant, error=described(error))


def _outage(resources: Resources, error: HeadraceError) -> HeadraceError | None:
    """The server's error if it does not answer at all, None if only this tenant's request failed."""
    from events.kafka.client import KafkaUnavailable

    try:
        if isinstance(error, PostgresUnavailable):
            resources.tenants()
        elif isinstance(error, KafkaUnavailable) or error.reason == "kafka-refused":
            resources.reader.high_watermarks([])
    except HeadraceError as confirmed:
        return confirmed
    return None


def _is_gone(resources: Resources, tenant: Tenant) -> bool:
    try:
        resources.database.get(tenant.tenant)
    except TenantError:
        return True
    except HeadraceError:
        return False
    return False
