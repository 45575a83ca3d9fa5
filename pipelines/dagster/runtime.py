"""Headrace as Dagster's assets and sensors see it: the resource `headrace`, with checks, counts and retention beside landing and stages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.app import Headrace

if TYPE_CHECKING:
    from pipelines.governance.retention import Enforced
    from pipelines.operations.stage_counts import StageCounts
    from quality import Check


class Runtime(Headrace):
    """What `assets.runtime.Runtime` asks for, put together from the rooms that do it."""

    def check(self, tenant: str, name: str) -> Check:
        """One quality check, by its name."""
        from pipelines.operations.checks import check

        return check(self, tenant, name)

    def stage_counts(self, tenant: str, stage: str) -> StageCounts:
        """The tenant's documents by state at one stage, and why some are left out."""
        from pipelines.operations.stage_counts import stage_counts

        return stage_counts(self, tenant, stage)

    def due(self, tenant: str) -> int:
        """Documents that a run would move although nothing new was published; one more if outcomes are left to publish."""
        from pipelines.operations.stage_counts import due

        return due(self, tenant)

    def enforce_retention(self, tenant: str) -> Enforced:
        """Delete what is old enough by the tenant's retention."""
        from pipelines.governance.retention import enforce

        return enforce(self, tenant)
