"""Documents by the names that people use for them: an id, a document's key, or a chunk's id.

What is known of a document is in `pipelines.operations.explain`.
"""

from __future__ import annotations

from core.errors import HeadraceError
from core.sql import statements
from pipelines.resources import Resources


def find(resources: Resources, tenant: str, name: str) -> list[str]:
    """The keys of the documents that an id, a document's key or a chunk's id stands for. Raises HeadraceError `unknown-document`.

    An id is found in every spelling. Includes documents whose every event was refused at landing: they have events and dead letters, but no
    state.
    """
    spelled = keys_of(resources, tenant, name)
    found = _documents(resources, tenant, "find", [*spelled, name])
    named = next((key for key in spelled if key in found), None)
    found -= {key for key in spelled if key != named}
    if not found:
        raise unknown(tenant)
    return sorted(found)


def find_document(resources: Resources, tenant: str, name: str) -> str:
    """The key of the one document that has this id, in any spelling, or, if none has, this key. Raises HeadraceError `unknown-document`."""
    candidates = [*keys_of(resources, tenant, name), name]
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
        remedy="An id is the event's subject, in any Unicode form; `headrace dead-letters list` shows events that were refused.",
    )


def _documents(resources: Resources, tenant: str, statement: str, keys: list[str]) -> set[str]:
    with resources.session(tenant).transaction() as connection:
        return {row["document"] for row in connection.execute(_SQL[statement], {"keys": keys})}


def keys_of(resources: Resources, tenant: str, name: str) -> list[str]:
    """The keys that the document with this id may have: its own first, then those from before ids were normalised."""
    from events.digests import document_key, former_keys

    keys = resources.session(tenant).keys
    return [document_key(name, keys), *former_keys(name, keys)]


_SQL = statements("pipelines", "sql/documents.sql")
