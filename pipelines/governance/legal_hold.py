"""Legal hold: while a tenant's `retention.legal_hold` is set, nothing of it is erased or removed, nor deleted by retention.

Its sources' changes and deletes still pass: the index follows them, and keeping what the law demands is the sources' part.
"""

from __future__ import annotations

from core.errors import HeadraceError
from pipelines.resources import Resources


def held(resources: Resources, tenant: str) -> bool:
    """Whether the tenant is under legal hold now. Raises TenantError, and PolicyError if its retention settings are not valid."""
    # only this section: a tenant whose other settings are not valid, or whose key cannot be opened, can still be removed
    retention = resources.database.get(tenant).configuration.get("retention", {})
    return resources.settings.policy({"retention": retention}).retention.legal_hold


def refuse_held(resources: Resources, tenant: str) -> None:
    """Raises HeadraceError `legal-hold`, and as `held` does."""
    if held(resources, tenant):
        raise HeadraceError(
            f"tenant {tenant!r} is under legal hold: nothing of it is erased",
            reason="legal-hold",
            remedy=f"Once the hold has ended: `headrace tenant set {tenant} retention.legal_hold=false`.",
        )
