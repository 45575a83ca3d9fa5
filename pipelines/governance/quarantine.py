"""Release of a document from quarantine: its text is of low quality, or the tenant's privacy profile quarantines what it contains."""

from __future__ import annotations

from core.errors import HeadraceError
from core.ledger import ledger
from pipelines.documents import find_document
from pipelines.resources import Resources
from pipelines.stages import registry


def release(resources: Resources, tenant: str, name: str) -> str:
    """Release the document's present content; the next run takes it. Returns the document's key.

    Raises HeadraceError `unknown-document`, or `not-put-aside` if no quarantining stage has failed with it.
    """
    document = find_document(resources, tenant, name)
    with resources.session(tenant).transaction() as connection:
        if not ledger.release(connection, document, registry.QUARANTINING):
            raise HeadraceError(
                "this document is not in quarantine", reason="not-put-aside", remedy="`headrace explain` shows its state and why."
            )
    return document
