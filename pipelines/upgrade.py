"""What a tenant's data of an earlier version needs before its next event lands. SQL cannot do it: it takes the tenant's key, or Kafka.

Version 1: ids are compared in NFC. A live document is moved to the key of its normalised id with everything that it has, in one
transaction; of two documents that are spelt alike the newer stays. What remains under the former key is a tombstone, so that the stages
remove it from Neo4j as after any delete. Tombstones of ids that were never published belong to nobody. The broker stamps the documents'
records from now on.

It is due once for a tenant, and safe to repeat and to cut off anywhere. Landing does not begin before it is done: an event in another
spelling would be a second document. Tombstones have no id any more; landing finds them by their former keys (`events.landing`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from time import monotonic
from typing import TYPE_CHECKING

from msgspec import structs

from core import artifacts, envelopes, outcomes
from core.ledger import ledger
from core.ledger.stage import Session
from core.records import Envelope, encode
from core.sensitivity import SEALED
from core.sql import statements
from core.tenancy import Connection
from pipelines.resources import Resources
from pipelines.tasks import Task

if TYPE_CHECKING:
    from events.fencing import State

VERSION = 1
"""The data version of new tenants."""

_NAME = "upgrade"
_PAGE = 500
_MOVED = ("move_events", "move_outcomes", "move_dead_letters", "move_artifacts", "move_sources", "move_citations", "move_records")


def ensure(resources: Resources, session: Session) -> None:
    """Upgrade the tenant's data if that was not done. Raises Unavailable."""
    if _is_due(None, resources, session):
        upgrade(resources, session)
        resources.maintained_at[session.tenant, _NAME] = monotonic()


def upgrade(resources: Resources, session: Session) -> Mapping[str, int]:
    """Bring the tenant's data to `VERSION`. Returns how many documents were `renamed`, `deleted` as the older of two, and `disowned`."""
    from events.kafka.topics import keep_append_times

    keep_append_times(resources.endpoints.kafka_client(), session.tenant)
    done = Counter(_normalised(session, document, envelope) for document, envelope in _misspelt(session))
    with session.transaction() as connection:
        done["disowned"] = connection.execute(_SQL["disown"]).rowcount
        connection.execute(_SQL["reach"], {"version": VERSION})
    return +done


def _is_due(_: Connection | None, resources: Resources, session: Session) -> bool:
    if (session.tenant, _NAME) in resources.maintained_at:
        return False
    with resources.database.control() as connection:
        rows = connection.execute(_SQL["data_version"], {"tenant": session.tenant}).fetchall()
    due = bool(rows) and int(rows[0]["data_version"]) < VERSION
    if not due:
        resources.maintained_at[session.tenant, _NAME] = monotonic()
    return due


def _misspelt(session: Session) -> Iterator[tuple[str, Envelope]]:
    """The live documents that stand under the key of an id that is not normalised, and their envelopes."""
    from events.digests import document_key

    after = ""
    while True:
        with session.transaction() as connection:
            rows = connection.execute(_SQL["live"], {"after": after, "limit": _PAGE}, binary=True).fetchall()
        if not rows:
            return
        after = rows[-1]["document"]
        for row in rows:
            envelope = envelopes.unseal(session.keys, row["envelope"], row["document"])
            if document_key(envelope.name, session.keys) != row["document"]:
                yield row["document"], envelope


def _normalised(session: Session, former: str, envelope: Envelope) -> str:
    """Move a document to the key of its normalised id, or delete it if a newer one has that id. Returns what was done."""
    from events.digests import canonical, document_key
    from events.landing import states, supersede

    name = canonical(envelope.name)
    key = document_key(name, session.keys)
    with session.transaction() as connection:
        found = states(connection, [former, key])
        document = found.get(former)
        if document is None or document.deleted:
            return "changed"
        stays = key not in found or not _is_newer(found[key], document)
        if stays:
            _move(connection, session, document, key, structs.replace(envelope, name=name), found.get(key))
        connection.execute(_SQL["mark_deleted"], {"former": former, "moved_to": key if stays else None})
        if stays:
            ledger.invalidate(connection, [former])
        else:
            supersede(connection, [former])
    return "renamed" if stays else "deleted"


def _is_newer(other: State, document: State) -> bool:
    """Whether the document that has the normalised id is newer. A tombstone of another source is a delete of nothing."""
    if other.deleted and other.source_key not in ("", document.source_key):
        return False
    if other.sequence_explicit and document.sequence_explicit and other.sequence != document.sequence:
        return other.sequence > document.sequence
    return bool(other.landed_at and document.landed_at and other.landed_at > document.landed_at)


def _move(connection: Connection, session: Session, document: State, key: str, envelope: Envelope, other: State | None) -> None:
    """Give everything of the document to `key`, in place of what the older document there has."""
    from events import children
    from index import swap

    values = {"former": document.document, "document": key}
    swap.remove(connection, [key])
    if other:
        outcomes.decide(connection, [key], "superseded")
        children.delete(connection, [key])
        ledger.invalidate(connection, [key])
        for statement in ("drop_records", "drop_artifacts"):
            connection.execute(_SQL[statement], values)
    envelope_key = envelopes.digest(session.keys, encode(envelope))
    sealed = {"envelope": envelopes.seal(session.keys, envelope, key), "envelope_key": envelope_key}
    connection.execute(_SQL["move_document"], values | sealed | {"revision": other.revision if other else 0})
    for stage in SEALED:
        payload = artifacts.get(connection, session.keys, stage, [document.document]).get(document.document)
        if payload is not None:
            artifacts.put(connection, session.keys, stage, {key: payload})
            artifacts.discard(connection, [stage], [document.document])
    for statement in (*_MOVED, "move_children"):
        connection.execute(_SQL[statement], values)
    connection.execute(_SQL["keep_without_original"], values | {"envelope_key": envelope_key, "former_key": document.envelope_key})


TASKS = (Task(_NAME, None, _is_due, upgrade),)

_SQL = statements("pipelines", "sql/upgrade.sql")
