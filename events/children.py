"""Documents inside documents: the parse stage finds them, and each becomes a document that follows its parent.

A child's id is its parent's id, `!/` and its path in the parent. It has its parent's source, sequence, access list and Kafka position, so
its dead letters stand under its parent's event. Events are landed in `events.landing`; a child has none of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from core import access_lists, artifacts, envelopes
from core.keys import TenantKeys
from core.ledger import ledger
from core.records import Child, Envelope, encode
from core.sql import statements
from core.tenancy import Connection
from events.digests import canonical, content_key, document_key

INSIDE = "!/"
"""Separates a parent's id from a child's path, as in Java's URLs of archive members."""

DEEPEST = 3
"""Most levels below a document that has an event of its own."""


def depth(name: str) -> int:
    """The number of documents that contain this one."""
    return name.count(INSIDE)


def replace(connection: Connection, keys: TenantKeys, found: Mapping[str, Sequence[Child]]) -> int:
    """Replace each parent's children by those that were found in it. Returns how many are new or changed.

    The caller has locked the parents and their former children (`core.ledger.ledger.lock_current`). An id that belongs to another parent
    or to an event of its own is left as it is.
    """
    parents = {
        row["document"]: envelopes.unseal(keys, row["envelope"], row["document"])
        for row in connection.execute(_SQL["parents"], {"documents": list(found)})
    }
    rows = [row for parent, envelope in parents.items() for row in _rows(keys, parent, envelope, found[parent])]
    before = {row["document"]: row for row in connection.execute(_SQL["existing"], {"documents": [row["document"] for row in rows]})}
    owned = [row for row in rows if _owns(row, before.get(row["document"]))]
    changed = [row for row in owned if _differs(row, before.get(row["document"]))]
    if changed:
        _write(connection, keys, changed)
    delete(connection, list(found), [row["document"] for row in owned])
    return len(changed)


def delete(connection: Connection, parents: Collection[str], kept: Collection[str] = ()) -> None:
    """Delete the children of these documents, except those in `kept`."""
    rows = connection.execute(_SQL["delete_children"], {"parents": list(parents), "kept": list(kept)}).fetchall()
    deleted = [row["document"] for row in rows]
    _invalidate(connection, deleted, deleted)


def propagate(connection: Connection, documents: Collection[str]) -> list[str]:
    """At landing: apply the deletes and access lists of these documents to the documents inside them. Returns those that changed.

    A revoked principal loses access now; a granted one gains it with the swap.
    """
    rows = connection.execute(_SQL["propagate"], {"documents": list(documents)}).fetchall()
    changed, deleted = [row["document"] for row in rows], [row["document"] for row in rows if row["deleted"]]
    _invalidate(connection, changed, deleted)
    if deleted:
        connection.execute(_SQL["invalidate_parse"], {"documents": list(documents)})
    return changed


def _rows(keys: TenantKeys, parent: str, envelope: Envelope, children: Sequence[Child]) -> list[dict[str, Any]]:
    return [_row(keys, parent, envelope, child) for child in children]


def _row(keys: TenantKeys, parent: str, envelope: Envelope, child: Child) -> dict[str, Any]:
    own = Envelope(
        name=canonical(f"{envelope.name}{INSIDE}{child.path}"),
        source=envelope.source,
        uri=f"{envelope.uri}{INSIDE}{child.path}" if envelope.uri else "",
        media_type=child.media_type,
        file_name=child.path.rpartition("/")[2],
        refused=child.reason,
    )
    document = document_key(own.name, keys)
    return {
        "document": document,
        "parent": parent,
        "content_key": content_key(keys, b"inline\0%b\0%b" % (child.reason.encode(), child.content), own.media_type, own.file_name),
        "envelope_key": envelopes.digest(keys, encode(own)),
        "envelope": envelopes.seal(keys, own, document),
        "content": child.content,
    }


def _owns(row: Mapping[str, Any], before: Mapping[str, Any] | None) -> bool:
    if before is None or not before["published"]:
        return True
    return bool(before["parent"] == row["parent"] or (before["deleted"] and before["parent"] is not None))


def _differs(row: Mapping[str, Any], before: Mapping[str, Any] | None) -> bool:
    return before is None or before["deleted"] or any(row[key] != before[key] for key in ("content_key", "envelope_key"))


def _write(connection: Connection, keys: TenantKeys, rows: Sequence[Mapping[str, Any]]) -> None:
    columns = {"documents": "document", "parents": "parent", "content_keys": "content_key"}
    columns |= {"envelope_keys": "envelope_key", "envelopes": "envelope"}
    connection.execute(_SQL["upsert_children"], {name: [row[key] for row in rows] for name, key in columns.items()})
    artifacts.put(connection, keys, "land", {row["document"]: row["content"] for row in rows})
    _invalidate(connection, [row["document"] for row in rows], [])


def _invalidate(connection: Connection, documents: list[str], deleted: list[str]) -> None:
    if documents:
        artifacts.discard(connection, ["land"], deleted)
        ledger.invalidate(connection, documents)
        access_lists.narrow(connection, documents)


_SQL = statements("events", "sql/children.sql")
