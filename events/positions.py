"""Where reading goes on: the only position that counts, and what becomes of it where the topic is not what it was.

A partition's events have *running offsets*: base + offset, where `base` is how far earlier topics of the same name led. They never go back,
so that they number events over every topic of that name; Postgres keeps events, documents and dead letters under them.
No Kafka client here: what a topic is by now, the caller asks (`events.kafka.topics`, `events.kafka.reader.Reader`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from core.errors import LostRace
from core.ledger import ledger
from core.ledger.ledger import Letter
from core.sql import statements
from core.tenancy import Connection, Row
from events.kafka.batches import Batch

RECREATED: Final = "topic-recreated"
LOST: Final = "events-lost-to-retention"
CUT: Final = "offset-out-of-range"
LOSSES = (LOST, CUT)
"""Reason codes of dead letters that stand for events which nobody can read any more."""


@dataclass(frozen=True)
class Position:
    """Of one partition: the next offset to read, in which topic (None: not asked yet), and what its offsets are counted on from.

    `base` counts from the offset `base_from` on; a lower offset of the same topic was counted from another base.
    """

    next_offset: int = 0
    topic_id: str | None = None
    base: int = 0
    base_from: int = 0

    @property
    def running(self) -> int:
        """The running offset of what comes next."""
        return self.base + self.next_offset

    def offset_of(self, running: int) -> int | None:
        """The topic's own offset of an event, or None where that was in a topic, or a part of it, that is gone."""
        offset = running - self.base
        return offset if offset >= self.base_from else None


NEVER_READ = Position()


@dataclass(frozen=True)
class Happening:
    """Why a position moved without reading: a reason code, and a sentence that holds numbers only. `at` is its letter's running offset."""

    reason: Literal["topic-recreated", "events-lost-to-retention", "offset-out-of-range"]
    detail: str
    at: int | None = None


@dataclass(frozen=True)
class Settled:
    """Where reading goes on, and what happened; most often nothing."""

    position: Position
    happened: tuple[Happening, ...] = ()


@dataclass(frozen=True)
class Bounds:
    """What a partition has by now: its first offset, and the one after its last committed record."""

    low: int
    high: int


def known(connection: Connection, topic: str) -> dict[int, Position]:
    """Partition → position, for the partitions that have been opened."""
    rows = connection.execute(_sql("positions"), {"topic": topic})
    return {row.pop("kafka_partition"): Position(**row) for row in rows}


def move(connection: Connection, batch: Batch, topic_id: str | None = None) -> int:
    """Move the position over a batch; gives the base that its offsets are counted on from.

    Raises LostRace where the position is not where the batch was read from, or in another topic than `topic_id`, where that is given.
    """
    values = {"topic": batch.topic, "partition": batch.partition, "start": batch.start, "end": batch.end, "topic_id": topic_id}
    if batch.start == 0:
        connection.execute(_sql("open"), values)
    moved = connection.execute(_sql("move"), values).fetchall()
    if not moved:
        raise LostRace(f"{batch.topic}/{batch.partition} is no longer at offset {batch.start}")
    return int(moved[0]["base"])


def settle(
    connection: Connection, topic: str, topic_id: str, seen: Mapping[int, Position], bounds: Mapping[int, Bounds]
) -> dict[int, Settled]:
    """Before reading partitions of a topic: move those positions that cannot be read from any more, and bury what was lost by that.

    `seen` is what `known` gave (of all the topic's partitions) *before* `topic_id` and `bounds` (of those to be read) were asked for:
    bounds that are older than a position say nothing of it. The id comes before the bounds: those of a topic that is newer than its id are
    put right when it is settled again, those of an older one would not be. Writes nothing where all is as it was. Raises LostRace where
    somebody else moved a position since it was seen: look again.
    """
    settled = judge(topic_id, seen, bounds)
    for partition, found in sorted(settled.items()):
        if found.position != seen.get(partition):
            _store(connection, topic, partition, seen.get(partition, NEVER_READ), found.position)
        ledger.bury(connection, [_letter(partition, one) for one in found.happened if one.at is not None])
    return settled


def judge(topic_id: str, seen: Mapping[int, Position], bounds: Mapping[int, Bounds]) -> dict[int, Settled]:
    """`settle`, before it writes: partition → where reading goes on, and why it does not go on where it was."""
    former = _former(topic_id, seen, bounds)
    # a document may come to another partition in a topic that was made anew: no partition of it begins below any of the former one
    base = max((position.running if partition in former else position.base for partition, position in seen.items()), default=0)
    settled = {}
    for partition, there in bounds.items():
        position = seen.get(partition)
        if position is None or partition in former:
            happened = () if position is None else (_recreated(position),)
            settled[partition] = _readable(Position(0, topic_id, base), there, happened)
        else:
            settled[partition] = _readable(Position(position.next_offset, topic_id, position.base, position.base_from), there)
    return settled


def _former(topic_id: str, seen: Mapping[int, Position], bounds: Mapping[int, Bounds]) -> set[int]:
    """The partitions whose position is in a former topic.

    Those whose topic was not asked for yet are, all of them, where one of the others is, or where the topic ends before one of them.
    """
    asked = {partition for partition, position in seen.items() if position.topic_id not in (None, topic_id)}
    unasked = {partition for partition, position in seen.items() if position.topic_id is None}
    beyond = any(seen[partition].next_offset > bounds[partition].high for partition in unasked & bounds.keys())
    return asked | unasked if asked or beyond else set()


def _readable(position: Position, there: Bounds, happened: tuple[Happening, ...] = ()) -> Settled:
    """The position, or the nearest one that the partition has."""
    at, running = position.next_offset, position.running
    if at > there.high:
        why = Happening(CUT, f"the topic ends at offset {there.high}, before the position {at}", running)
        # one more: the letter stands at the running offset that would have come next
        return Settled(Position(there.high, position.topic_id, running + 1 - there.high, there.high), (*happened, why))
    if at < there.low:
        why = Happening(LOST, f"offsets {at} to {there.low - 1} were removed before they were read", running)
        return Settled(Position(there.low, position.topic_id, position.base, position.base_from), (*happened, why))
    return Settled(position, happened)


def _recreated(position: Position) -> Happening:
    return Happening(RECREATED, f"the topic was made anew; the former one was read up to offset {position.next_offset}")


def _letter(partition: int, happening: Happening) -> Letter:
    return Letter(partition, happening.at or 0, "land", None, happening.reason, happening.detail)


def _store(connection: Connection, topic: str, partition: int, seen: Position, position: Position) -> None:
    place = {"topic": topic, "partition": partition}
    if seen == NEVER_READ:
        connection.execute(_sql("open"), place | {"topic_id": None})
    before = {"seen_offset": seen.next_offset, "seen_base": seen.base, "seen_topic_id": seen.topic_id}
    after = {name: getattr(position, name) for name in Position.__dataclass_fields__}
    if connection.execute(_sql("settle"), place | before | after).rowcount != 1:
        raise LostRace(f"{topic}/{partition} is no longer at offset {seen.next_offset}")


def current(topic_id: str, seen: Mapping[int, Position]) -> dict[int, int]:
    """Partition → the offset that is read next: 0 in a topic that was made anew and is not settled yet. For who only counts."""
    return {p: position.next_offset if position.topic_id in (None, topic_id) else 0 for p, position in seen.items()}


def losses(connection: Connection) -> list[Row]:
    """The open dead letters of events that nobody can read any more: `position`, `reason`, `detail`, `first_at`; oldest first."""
    return connection.execute(_sql("losses"), {"reasons": list(LOSSES)}).fetchall()


def dismiss(connection: Connection, partition: int, offset: int) -> int:
    """Settle landing's open dead letter at this running offset by an operator's word: gives how many there were, 0 or 1.

    Letters of later stages are not for this: their documents' records say failed, and a replay takes them up.
    """
    return connection.execute(_sql("dismiss"), {"partition": partition, "offset": offset}).rowcount


def _sql(name: str) -> Any:
    return statements("events", "sql/positions.sql")[name]
