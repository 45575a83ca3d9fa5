"""Headrace as Dagster's assets and sensors see it: the resource `headrace`, with checks, counts, maintenance and retention beside landing
and stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pipelines import maintenance
from pipelines.app import Headrace

if TYPE_CHECKING:
    from pipelines.governance.retention import Enforced
    from pipelines.operations.reindex import Status
    from pipelines.operations.stage_counts import StageCounts
    from quality import Check


class Runtime(Headrace):
    """What `assets.runtime.Runtime` asks for, composed from the sub-packages that do it."""

    def check(self, tenant: str, name: str) -> Check:
        """One quality check, by its name."""
        from pipelines.operations.checks import check

        return check(self, tenant, name)

    def stage_counts(self, tenant: str, stage: str) -> StageCounts:
        """The tenant's documents by state at one stage, and why some are left out."""
        from pipelines.operations.stage_counts import stage_counts

        return stage_counts(self, tenant, stage)

    def due(self, tenant: str) -> int:
        """Documents that a run would process although nothing new was published.

        One more if outcomes are left to publish, and one more if maintenance is due that follows no stage.
        """
        from pipelines.operations.stage_counts import due

        return due(self, tenant) + maintenance.is_due_without_a_stage(self, self.session(tenant))

    def maintain(self, tenant: str) -> Mapping[str, int]:
        """Run every maintenance task that is due. Returns the counts of those that ran, as `<task>/<count>` → number."""
        return maintenance.counts(maintenance.run_due(self, self.session(tenant)))

    def maintenance_due(self, tenant: str) -> Sequence[str]:
        """The names of the maintenance tasks that are due."""
        return maintenance.due(self, self.session(tenant))

    def reindex(self, tenant: str, model: str | None, revision: str | None, chunker: str | None, *, rollback: bool) -> Status:
        """Build another generation beside the active one, or roll back. Raises as `pipelines.operations.reindex` does."""
        from pipelines.operations import reindex

        if rollback:
            reindex.rollback(self, tenant)
        else:
            reindex.request(self, tenant, model, revision, chunker)
            reindex.advance(self, self.session(tenant))
        return reindex.known(self, tenant)

    def enforce_retention(self, tenant: str) -> Enforced:
        """Delete what is old enough by the tenant's retention."""
        from pipelines.governance.retention import enforce

        return enforce(self, tenant)
