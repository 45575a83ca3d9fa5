"""Landing records again: a dead letter, or a range of a topic. The position does not move.

Every event is fenced like a repeated delivery (`events.landing`), and one that passes resolves its dead letter. The caller reads the
records and passes the `numbering` of the position in their topic (`events.positions`).
"""

from __future__ import annotations

from collections.abc import Sequence

from core.keys import TenantKeys
from core.sql import statements
from core.tenancy import Connection
from events.contract import KafkaRecord
from events.landing import Fates, Landed, land_records
from events.positions import FROM_ZERO, Numbering


def retry(connection: Connection, keys: TenantKeys, record: KafkaRecord, numbering: Numbering = FROM_ZERO) -> Landed:
    """Land a refused event again. If it is refused again, its dead letter counts another attempt. Raises LostRace."""
    landed = land_records(connection, keys, [record], numbering=numbering)
    _resolve(connection, [record], numbering.base)
    return landed


def reread(connection: Connection, keys: TenantKeys, records: Sequence[KafkaRecord], numbering: Numbering = FROM_ZERO) -> Landed:
    """Land records of one partition that may have landed before. Raises LostRace.

    An event with the same result as before is counted and not written, so that a second replay writes nothing: neither the event's row
    nor another attempt of a dead letter that is refused for the same reason.
    """
    landed = land_records(connection, keys, records, _fates(connection, records, numbering.base), numbering=numbering)
    _resolve(connection, records, numbering.base)
    return landed


def _fates(connection: Connection, records: Sequence[KafkaRecord], base: int) -> Fates:
    rows = connection.execute(_SQL["fates"], _positions(records, base))
    return {(row["kafka_partition"], row["kafka_offset"]): (row["fate"], row["reason"]) for row in rows}


def _resolve(connection: Connection, records: Sequence[KafkaRecord], base: int) -> None:
    connection.execute(_SQL["resolve"], _positions(records, base))


def _positions(records: Sequence[KafkaRecord], base: int) -> dict[str, list[int]]:
    return {"partitions": [record.partition for record in records], "offsets": [base + record.offset for record in records]}


_SQL = statements("events", "sql/replay.sql")
