"""The outbox in Postgres: each landed event until it was published what became of it. Publishing is in `events.outcomes`.

Who decides an event's fate says so here, in the transaction that decides it: landing, the swap, a stage that fails for good. What is
decided stays: an event is told of once, whatever is run, replayed or built anew later.
Of a document one event at most is not decided yet, the newest that landed; landing lets no older one wait beside it.
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
"""A longer id is left out: what is told of an event has to fit into a Kafka record."""


class Subject(msgspec.Struct, frozen=True):
    """By what a source system knows its event: its id, and the key of its record. Sealed at rest."""

    event: str | None
    key: bytes | None


def subject(event: str | None, key: bytes | None) -> Subject:
    """Without what is longer than `MAX_ID_BYTES`."""
    short_event = event if event and len(event.encode("utf-8", "surrogatepass")) <= MAX_ID_BYTES else None
    return Subject(short_event, key if key is not None and len(key) <= MAX_ID_BYTES else None)


def seal(keys: TenantKeys, of: Subject, partition: int, offset: int) -> bytes:
    """What `unseal` opens, in the row of this position only."""
    return keys.seal(encode(of), f"outcome/{partition}:{offset}")


def unseal(keys: TenantKeys, row: Row) -> Subject:
    """The subject of a row of `undelivered`. Raises HeadraceError (`cannot-decrypt`)."""
    return decode(keys.open(row["subject"], f"outcome/{row['kafka_partition']}:{row['kafka_offset']}"), Subject)


def decide(connection: Connection, documents: Collection[str], outcome: Literal["superseded", "deleted"]) -> None:
    """What landed of these documents last has come to this."""
    if documents:
        connection.execute(_SQL["decide"], {"documents": list(documents), "outcome": outcome})


def refuse(connection: Connection, letters: Sequence[DeadLetter]) -> None:
    """What landed of these letters' documents last is a dead letter, for the letter's reason."""
    if letters:
        values = {"documents": [letter.document for letter in letters], "reasons": [letter.reason for letter in letters]}
        connection.execute(_SQL["refuse"], values)


def indexed(connection: Connection, documents: Collection[str] | None = None) -> None:
    """What landed of these documents last (of all where None) is indexed, where the active generation holds it."""
    connection.execute(_SQL["indexed"], {"documents": None if documents is None else list(documents)})


def undelivered(connection: Connection, limit: int) -> list[Row]:
    """The oldest that are decided and not published, in order, locked until the transaction ends."""
    return connection.execute(_SQL["undelivered"], {"limit": limit}, binary=True).fetchall()


def delivered(connection: Connection, rows: Sequence[Row]) -> None:
    """Forget what was published."""
    if rows:
        connection.execute(_SQL["delivered"], {"numbers": [row["number"] for row in rows]})


_SQL = statements("core", "sql/outcomes.sql")
