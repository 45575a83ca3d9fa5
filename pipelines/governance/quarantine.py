"""To let a document pass that was put aside: one that can be read only badly, or that the tenant's privacy profile quarantines."""

from __future__ import annotations

from core.errors import HeadraceError
from core.ledger import ledger
from pipelines.operations.explain import find_document
from pipelines.resources import Resources

PUT_ASIDE_BY = ("parse", "redact")
"""The stages that put documents aside."""


def release(resources: Resources, tenant: str, name: str) -> str:
    """Let the document's content, as it is now, pass; the next run takes it. Gives its key.

    Raises HeadraceError: `unknown-document`, or `not-put-aside` where neither stage has failed with it.
    """
    document = find_document(resources, tenant, name)
    with resources.session(tenant).transaction() as connection:
        if not ledger.release(connection, document, PUT_ASIDE_BY):
            raise HeadraceError(
                "this document is not put aside", reason="not-put-aside", remedy="`headrace explain` says where it stands and why."
            )
    return document
