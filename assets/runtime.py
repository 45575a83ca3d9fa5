"""The interface that assets use; `pipelines.dagster.runtime.Runtime` implements it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import dagster as dg

if TYPE_CHECKING:
    from core.ledger.stage import Report

TENANTS = dg.DynamicPartitionsDefinition(name="tenants")

RESOURCE = "headrace"
"""The resource's key, and the name of the parameter that receives it."""


class Landed(Protocol):
    """The result of a landing: events by fate, and refused events by reason."""

    @property
    def events(self) -> int: ...

    @property
    def fates(self) -> Any: ...

    @property
    def reasons(self) -> Any: ...


class StageCounts(Protocol):
    """The tenant's documents by state now, and the failed or waiting ones by reason."""

    @property
    def documents(self) -> Mapping[str, int]: ...

    @property
    def reasons(self) -> Mapping[str, int]: ...


class Checked(Protocol):
    """A quality check's result, as `quality.Check`."""

    @property
    def passed(self) -> bool: ...

    @property
    def severity(self) -> str: ...

    @property
    def measured(self) -> Mapping[str, Any]: ...

    @property
    def explanation(self) -> str: ...

    @property
    def distribution(self) -> Mapping[str, int]: ...

    def markdown(self) -> str: ...


class Enforced(Protocol):
    """What retention deleted, by class, as `pipelines.governance.retention.Enforced`."""

    @property
    def held(self) -> bool: ...

    @property
    def classes(self) -> Mapping[str, Any]: ...


class Reindexed(Protocol):
    """Where a tenant's reindex is, as `pipelines.operations.reindex.Status`."""

    @property
    def state(self) -> str: ...

    @property
    def reason(self) -> str: ...

    @property
    def documents(self) -> int: ...

    @property
    def of(self) -> int: ...

    @property
    def comparison(self) -> Any: ...


class Runtime(Protocol):
    """Headrace, as the assets see it."""

    def land(self, tenant: str, progress: Callable[[Any], None] = ...) -> Landed: ...

    def run(self, tenant: str, stage: str, progress: Callable[[Report], None] = ...) -> Report: ...

    def check(self, tenant: str, name: str) -> Checked: ...

    def stage_counts(self, tenant: str, stage: str) -> StageCounts: ...

    def maintain(self, tenant: str) -> Mapping[str, int]: ...

    def maintenance_due(self, tenant: str) -> Sequence[str]: ...

    def enforce_retention(self, tenant: str) -> Enforced: ...

    def reindex(self, tenant: str, model: str | None, revision: str | None, chunker: str | None, *, rollback: bool) -> Reindexed: ...
