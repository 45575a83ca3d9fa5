"""Transactional outbox of event outcomes. Publishing them to Kafka is in `events.outcomes`.

An outcome is decided in the transaction that makes it true: by landing, the swap, or a stage that fails for good. It is decided once,
whatever is run, replayed or rebuilt later. At most one event of a document is undecided, the newest that landed: landing decides all
older ones.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

import msgspec

from core.keys import TenantKeys
from core.ledger.ledger import DeadLetter
from core.records import decode, encode
from core.sql import statements
from core.tenancy import Connection, Row

MAX_ID_BYTES = 1024
"""Longer ids are left out, so that an outcome fits into a Kafka record."""


class Subject(msgspec.Struct, frozen=True):
    """How a source system identifies its event: the event's id and the record's key. Sealed at rest."""

    event: str | None
    key: bytes | None


def subject(event: str | None, key: bytes | None) -> Subject:
    """The subject, with None for an id or key longer than `MAX_ID_BYTES`."""
    short_event = event if event and len(event.encode("utf-8", "surrogatepass")) <= MAX_ID_BYTES else None
    return Subject(short_event, key if key is not None and len(key) <= MAX_ID_BYTES else None)


def seal(keys: TenantKeys, of: Subject, partition: int, offset: int) -> bytes:
    """The sealed subject, bound to its row: `unseal` opens it at this partition and offset only."""
    return keys.seal(encode(of), f"outcome/{partition}:{offset}")


def unseal(keys: TenantKeys, row: Row) -> Subject:
    """The subject of a row of `undelivered`. Raises HeadraceError (`cannot-decrypt`)."""
    return decode(keys.open(row["subject"], f"outcome/{row['kafka_partition']}:{row['kafka_offset']}"), Subject)


def decide(connection: Connection, documents: Collection[str], outcome: Literal["superseded", "deleted"]) -> None:
    """Decide the undecided events of these documents."""
    if documents:
        connection.execute(_SQL["decide"], {"documents": list(documents), "outcome": outcome})


def refuse(connection: Connection, letters: Sequence[DeadLetter]) -> None:
    """Decide the undecided events of these letters' documents as `dead-lettered`, with the letters' reasons."""
    if letters:
        values = {"documents": [letter.document for letter in letters], "reasons": [letter.reason for letter in letters]}
        connection.execute(_SQL["refuse"], values)


def indexed(connection: Connection, documents: Collection[str] | None = None) -> None:
    """Decide undecided events as `indexed` if the active generation contains them; of `documents`, or of all if None."""
    connection.execute(_SQL["indexed"], {"documents": None if documents is None else list(documents)})


def undelivered(connection: Connection, limit: int) -> list[Row]:
    """The oldest unpublished outcomes, in the order of their decisions, locked until the transaction ends."""
    return connection.execute(_SQL["undelivered"], {"limit": limit}, binary=True).fetchall()


def delivered(connection: Connection, rows: Sequence[Row]) -> None:
    """Delete published outcomes."""
    if rows:
        connection.execute(_SQL["delivered"], {"numbers": [row["number"] for row in rows]})


_SQL = statements("core", "sql/outcomes.sql")
