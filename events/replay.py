"""Landing what was read before: a dead letter once more, or a stretch of a topic. The position stays where it is.

Every event is judged as any repeated delivery is (`events.landing`), and an event that passes settles its dead letter.
Reading the records again is the caller's, and so is `base`: the position's, in whose topic they were read (`events.positions`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.keys import TenantKeys
from core.sql import statements
from core.tenancy import Connection
from events.contract import KafkaRecord
from events.landing import Known, Landed, land_records


def retry(connection: Connection, keys: TenantKeys, record: KafkaRecord, base: int = 0) -> Landed:
    """Land a refused event once more. Refused again, its dead letter counts another attempt. Raises LostRace."""
    landed = land_records(connection, keys, [record], base=base)
    _settle(connection, [record], base)
    return landed


def reread(connection: Connection, keys: TenantKeys, records: Sequence[KafkaRecord], base: int = 0) -> Landed:
    """Land records of one partition that may have landed before. Raises LostRace.

    What comes to nothing new is counted and leaves no trace, so that doing it twice writes nothing: not the event's row, nor an attempt
    at a dead letter that is refused for the same reason as before.
    """
    landed = land_records(connection, keys, records, _known(connection, records, base), base=base)
    _settle(connection, records, base)
    return landed


def _known(connection: Connection, records: Sequence[KafkaRecord], base: int) -> Known:
    rows = connection.execute(_sql("known"), _places(records, base))
    return {(row["kafka_partition"], row["kafka_offset"]): (row["fate"], row["reason"]) for row in rows}


def _settle(connection: Connection, records: Sequence[KafkaRecord], base: int) -> None:
    connection.execute(_sql("settle"), _places(records, base))


def _places(records: Sequence[KafkaRecord], base: int) -> dict[str, list[int]]:
    return {"partitions": [record.partition for record in records], "offsets": [base + record.offset for record in records]}


def _sql(name: str) -> Any:
    return statements("events", "sql/replay.sql")[name]
