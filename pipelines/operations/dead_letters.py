"""Reading a tenant's dead letters. Retrying them is in `pipelines.operations.replay`, dismissing them in `events.positions`."""

from __future__ import annotations

from datetime import datetime

import msgspec

from core.errors import HeadraceError
from core.sql import statements
from pipelines.resources import Resources


class DeadLetter(msgspec.Struct, frozen=True):
    """An open dead letter. `position`: `PARTITION:OFFSET`, see `place_of`. `document`: the document's key; None if the event has none."""

    position: str
    stage: str
    reason: str
    detail: str
    attempts: int
    document: str | None
    first_at: datetime
    last_at: datetime


class DeadLetterDetails(msgspec.Struct, frozen=True):
    """Everything known of a dead letter, with the event that it belongs to; the event's columns are None if it never landed."""

    tenant: str
    kafka_partition: int
    kafka_offset: int
    stage: str
    document: str | None
    reason: str
    detail: str
    attempts: int
    first_at: datetime
    last_at: datetime
    resolved_at: datetime | None
    operation: str | None
    sequence: int | None
    fate: str | None
    received_at: datetime | None


def open_letters(resources: Resources, tenant: str) -> list[DeadLetter]:
    """The open dead letters, newest first."""
    with resources.database.tenant(tenant) as connection:
        return [DeadLetter(**row) for row in connection.execute(_SQL["open"])]


def at(resources: Resources, tenant: str, position: str) -> list[DeadLetterDetails]:
    """The dead letters of one event, resolved ones included. Raises HeadraceError `bad-position`, `unknown-dead-letter`."""
    with resources.database.tenant(tenant) as connection:
        found = [DeadLetterDetails(**row) for row in connection.execute(_SQL["at"], place_of(position))]
    if not found:
        raise unknown(position)
    return found


def unknown(position: str) -> HeadraceError:
    """The error for a position without an open dead letter."""
    return HeadraceError(
        f"there is no open dead letter at {position}", reason="unknown-dead-letter", remedy="`headrace dead-letters list` shows them."
    )


def place_of(text: str) -> dict[str, int]:
    """`partition` and `offset` of a position, written `PARTITION:OFFSET`. Raises HeadraceError `bad-position`."""
    partition, _, offset = text.partition(":")
    if not (partition.isdigit() and offset.isdigit()):
        raise HeadraceError(f"a position is PARTITION:OFFSET, was: {text!r}", reason="bad-position")
    return {"partition": int(partition), "offset": int(offset)}


_SQL = statements("pipelines.operations", "sql/dead_letters.sql")
