"""Documents by the names that people use for them: an id, a document's key, or a chunk's id.

What is known of a document is in `pipelines.operations.explain`.
"""

from __future__ import annotations

from core.errors import HeadraceError
from core.sql import statements
from pipelines.resources import Resources


def find(resources: Resources, tenant: str, name: str) -> list[str]:
    """The keys of the documents that an id, a document's key or a chunk's id stands for. Raises HeadraceError `unknown-document`.

    Includes documents whose every event was refused at landing: they have events and dead letters, but no state.
    """
    found = _documents(resources, tenant, "find", _candidates(resources, tenant, name))
    if not found:
        raise unknown(tenant)
    return sorted(found)


def find_document(resources: Resources, tenant: str, name: str) -> str:
    """The key of the one document that has this id or, if none has, this key. Raises HeadraceError `unknown-document`."""
    candidates = _candidates(resources, tenant, name)
    existing = _documents(resources, tenant, "documents_by_key", candidates)
    found = [key for key in candidates if key in existing]
    if not found:
        raise unknown(tenant)
    return found[0]


def unknown(tenant: str) -> HeadraceError:
    """The error for an id that no document of the tenant has. The id is not repeated: it may be personal data."""
    return HeadraceError(
        f"tenant {tenant!r} has no document by that id",
        reason="unknown-document",
        remedy="An id is the event's subject, exactly; `headrace dead-letters list` shows events that were refused.",
    )


def _documents(resources: Resources, tenant: str, statement: str, keys: list[str]) -> set[str]:
    with resources.session(tenant).transaction() as connection:
        return {row["document"] for row in connection.execute(_SQL[statement], {"keys": keys})}


def _candidates(resources: Resources, tenant: str, name: str) -> list[str]:
    """The keys that a name may stand for: the key of the document with this id, then the name itself."""
    from events.digests import document_key

    return [document_key(name, resources.session(tenant).keys), name]


_SQL = statements("pipelines", "sql/documents.sql")
