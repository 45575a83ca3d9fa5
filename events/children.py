"""Documents inside documents: what the parse of a parent finds in it becomes documents of their own, which follow it from then on.

A child's id is its parent's, `!/` and its path there. It has its parent's source, sequence, access and place in Kafka; what it fails with
is told beside its parent's event. Landing knows events; here nothing arrives.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from core import artifacts
from core.keys import TenantKeys
from core.ledger import ledger
from core.records import Child, Envelope, decode, encode
from core.sql import statements
from core.tenancy import Connection
from events.digests import content_key, document_key

INSIDE = "!/"
"""Between a parent's id and a child's path, as in the URL of a file in an archive."""

DEEPEST = 3
"""Levels below a document that came with an event."""


def depth(name: str) -> int:
    """How many documents this one is inside of."""
    return name.count(INSIDE)


def adopt(connection: Connection, keys: TenantKeys, found: Mapping[str, Sequence[Child]]) -> int:
    """Make these the children of each document, and let go of those that it had before. Gives how many are new or changed.

    The parents are locked with all that they held before (`core.ledger.ledger.hold`). An id that is somebody else's stays theirs.
    """
    parents = {row["document"]: _opened(keys, row) for row in connection.execute(_sql("parents"), {"documents": list(found)})}
    rows = [row for parent, envelope in parents.items() for row in _rows(keys, parent, envelope, found[parent])]
    before = {row["document"]: row for row in connection.execute(_sql("there"), {"documents": [row["document"] for row in rows]})}
    ours = [row for row in rows if _may_have(row, before.get(row["document"]))]
    changed = [row for row in ours if _differs(row, before.get(row["document"]))]
    if changed:
        _write(connection, keys, changed)
    leave(connection, list(found), [row["document"] for row in ours])
    return len(changed)


def leave(connection: Connection, parents: Collection[str], kept: Collection[str] = ()) -> None:
    """Bury the children of these documents but for those that are kept."""
    gone = connection.execute(_sql("leave"), {"parents": list(parents), "kept": list(kept)}).fetchall()
    _moved(connection, [row["document"] for row in gone], [row["document"] for row in gone])


def follow(connection: Connection, documents: Collection[str]) -> list[str]:
    """At landing: what is inside of these documents goes with those that are deleted, and is hidden from whom they are hidden.

    Gives what changed. What is granted anew comes with the swap, as everywhere.
    """
    rows = connection.execute(_sql("follow"), {"documents": list(documents)}).fetchall()
    changed, gone = [row["document"] for row in rows], [row["document"] for row in rows if row["deleted"]]
    _moved(connection, changed, gone)
    if gone:
        connection.execute(_sql("read_again"), {"documents": list(documents)})
    return changed


def _rows(keys: TenantKeys, parent: str, envelope: Envelope, children: Sequence[Child]) -> list[dict[str, Any]]:
    return [_row(keys, parent, envelope, child) for child in children]


def _row(keys: TenantKeys, parent: str, envelope: Envelope, child: Child) -> dict[str, Any]:
    own = Envelope(
        name=f"{envelope.name}{INSIDE}{child.path}",
        source=envelope.source,
        uri=f"{envelope.uri}{INSIDE}{child.path}" if envelope.uri else "",
        media_type=child.media_type,
        file_name=child.path.rpartition("/")[2],
        refused=child.reason,
    )
    document, plain = document_key(own.name, keys), encode(own)
    return {
        "document": document,
        "parent": parent,
        "content_key": content_key(keys, b"inline\0%b\0%b" % (child.reason.encode(), child.content), own.media_type, own.file_name),
        "envelope_key": keys.digest(plain, "envelope"),
        "envelope": keys.seal(plain, f"envelope/{document}"),
        "content": child.content,
    }


def _may_have(row: Mapping[str, Any], before: Mapping[str, Any] | None) -> bool:
    return before is None or before["parent"] == row["parent"] or (before["deleted"] and before["parent"] is not None)


def _differs(row: Mapping[str, Any], before: Mapping[str, Any] | None) -> bool:
    return before is None or before["deleted"] or any(row[key] != before[key] for key in ("content_key", "envelope_key"))


def _write(connection: Connection, keys: TenantKeys, rows: Sequence[Mapping[str, Any]]) -> None:
    columns = {"documents": "document", "parents": "parent", "content_keys": "content_key"}
    columns |= {"envelope_keys": "envelope_key", "envelopes": "envelope"}
    connection.execute(_sql("adopt"), {name: [row[key] for row in rows] for name, key in columns.items()})
    artifacts.put(connection, keys, "land", {row["document"]: row["content"] for row in rows})
    _moved(connection, [row["document"] for row in rows], [])


def _moved(connection: Connection, documents: list[str], gone: list[str]) -> None:
    if documents:
        artifacts.discard(connection, ["land"], gone)
        ledger.fall_behind(connection, documents)
        connection.execute(statements("events", "sql/landing.sql")["narrow"], {"documents": documents})


def _opened(keys: TenantKeys, row: Mapping[str, Any]) -> Envelope:
    return decode(keys.open(row["envelope"], f"envelope/{row['document']}"), Envelope)


def _sql(name: str) -> Any:
    return statements("events", "sql/children.sql")[name]
