"""Legal hold: while a tenant's `retention.legal_hold` is set, nothing of it is let go, erased or removed by anybody here.

What its sources change and delete goes on: the index follows them, and what they have to keep they keep.
"""

from __future__ import annotations

from core.errors import HeadraceError
from pipelines.resources import Resources


def held(resources: Resources, tenant: str) -> bool:
    """As of now. Raises TenantError where there is no such tenant, PolicyError where its retention cannot be read: then nobody knows."""
    # that section alone: a tenant whose others cannot work, or whose key cannot be opened, can still be removed
    retention = resources.database.get(tenant).configuration.get("retention", {})
    return resources.settings.policy({"retention": retention}).retention.legal_hold


def refuse_held(resources: Resources, tenant: str) -> None:
    """Raises HeadraceError `legal-hold`; else as `held` does."""
    if held(resources, tenant):
        raise HeadraceError(
            f"tenant {tenant!r} is under legal hold: nothing of it is erased",
            reason="legal-hold",
            remedy=f"Where the hold has ended: `headrace tenant set {tenant} retention.legal_hold=false`.",
        )
