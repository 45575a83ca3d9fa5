"""Stored positions: where reading continues, and how a position is reset if its topic was recreated, cut or emptied.

A partition's events have *running offsets*: base + offset, where `base` is how far former topics of the same name were read. Running
offsets never decrease, so they number the events of all topics of a name; Postgres stores events, documents and dead letters under them.
No Kafka client here: callers ask Kafka for ids and bounds (`events.kafka.topics.Topics`, `events.kafka.reader.Reader`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

from core.errors import LostRace
from core.ledger import ledger
from core.ledger.ledger import DeadLetter
from core.sql import statements
from core.tenancy import Connection, Row
from events.contract import UNREADABLE_BATCH
from events.kafka.batches import Batch

RECREATED: Final = "topic-recreated"
LOST: Final = "events-lost-to-retention"
CUT: Final = "offset-out-of-range"
LOSSES = (LOST, CUT, UNREADABLE_BATCH)
"""Reason codes of dead letters for events that cannot be read, or no longer: each letter is about a range of offsets."""


class Numbering(NamedTuple):
    """How a partition's offsets become running offsets, `base` + offset, and where the running offsets of its topic begin."""

    base: int = 0
    topic_base: int = 0


FROM_ZERO = Numbering()


@dataclass(frozen=True)
class Position:
    """A partition's position: the next offset to read, the topic's id (None: not looked up yet), and the base of its running offsets.

    `base` applies from the offset `base_from` on; lower offsets of the same topic had another base. `topic_base`: the running offset at
    which the topic of this id begins, the same in all of its partitions; those of former topics are lower.
    """

    next_offset: int = 0
    topic_id: str | None = None
    base: int = 0
    base_from: int = 0
    topic_base: int = 0

    @property
    def numbering(self) -> Numbering:
        return Numbering(self.base, self.topic_base)

    @property
    def running(self) -> int:
        """The running offset of the next event."""
        return self.base + self.next_offset

    def offset_of(self, running: int) -> int | None:
        """The topic's own offset of a running offset, or None if it belongs to a former topic or to a part that was cut."""
        offset = running - self.base
        return offset if offset >= self.base_from else None


NEVER_READ = Position()


@dataclass(frozen=True)
class PositionReset:
    """Why a position moved without reading. `detail` names numbers only; `at` is the running offset of the dead letter."""

    reason: Literal["topic-recreated", "events-lost-to-retention", "offset-out-of-range"]
    detail: str
    at: int | None = None


@dataclass(frozen=True)
class Reconciled:
    """Where reading continues, and why the position was reset, if it was."""

    position: Position
    resets: tuple[PositionReset, ...] = ()


@dataclass(frozen=True)
class Bounds:
    """A partition's first offset, and its last stable offset: the one after the last committed record."""

    low: int
    high: int


def stored(connection: Connection, topic: str) -> dict[int, Position]:
    """Partition → position, of all partitions that were read before."""
    rows = connection.execute(_SQL["stored"], {"topic": topic})
    return {row.pop("kafka_partition"): Position(**row) for row in rows}


def move(connection: Connection, batch: Batch, topic_id: str | None = None) -> Numbering:
    """Move the position over a batch. Returns the numbering of the batch's records.

    Raises LostRace if the position is not the batch's start, or belongs to another topic than `topic_id` (None: any).
    """
    values = {"topic": batch.topic, "partition": batch.partition, "start": batch.start, "end": batch.end, "topic_id": topic_id}
    if batch.start == 0:
        connection.execute(_SQL["open"], values)
    moved = connection.execute(_SQL["move"], values).fetchall()
    if not moved:
        raise LostRace(f"{batch.topic}/{batch.partition} is no longer at offset {batch.start}")
    return Numbering(**moved[0])


def reconcile(
    connection: Connection, topic: str, topic_id: str, seen: Mapping[int, Position], bounds: Mapping[int, Bounds]
) -> dict[int, Reconciled]:
    """Before reading partitions: reset positions that cannot be read from any more, and write dead letters for the events lost.

    `seen` is the result of `stored`, of all the topic's partitions, from *before* `topic_id` and `bounds`, of the partitions to read, were
    requested: bounds older than a position say nothing about it. Request the id before the bounds: the next reconciliation corrects bounds
    that are newer than the id, but not older ones. Writes nothing if no position changes. Raises LostRace if another worker moved a
    position since it was seen: start over with `stored`.
    """
    reconciled = plan(topic_id, seen, bounds)
    for partition, found in sorted(reconciled.items()):
        if found.position != seen.get(partition):
            _store(connection, topic, partition, seen.get(partition, NEVER_READ), found.position)
        ledger.dead_letter(connection, [_letter(partition, one) for one in found.resets if one.at is not None])
    return reconciled


def plan(topic_id: str, seen: Mapping[int, Position], bounds: Mapping[int, Bounds]) -> dict[int, Reconciled]:
    """What `reconcile` would store: partition → the position to read from, and its resets."""
    former = _former(topic_id, seen, bounds)
    # a recreated topic may put a document into another partition, so none of its partitions starts below any of the former topic's
    ended = {partition: position.running for partition, position in seen.items() if partition in former}
    base = max((ended.get(partition, position.base) for partition, position in seen.items()), default=0)
    topic_base = max((ended.get(partition, position.topic_base) for partition, position in seen.items()), default=0)
    reconciled = {}
    for partition, there in bounds.items():
        position = seen.get(partition)
        if position is None or partition in former:
            resets = () if position is None else (_recreated(position),)
            reconciled[partition] = _readable(Position(0, topic_id, base, 0, topic_base), there, resets)
        else:
            reconciled[partition] = _readable(replace(position, topic_id=topic_id), there)
    return reconciled


def _former(topic_id: str, seen: Mapping[int, Position], bounds: Mapping[int, Bounds]) -> set[int]:
    """The partitions whose position belongs to a former topic.

    Positions without an id count as former, all of them, if any position has a former topic's id, or one of them is beyond the end.
    """
    former = {partition for partition, position in seen.items() if position.topic_id not in (None, topic_id)}
    without_id = {partition for partition, position in seen.items() if position.topic_id is None}
    beyond = any(seen[partition].next_offset > bounds[partition].high for partition in without_id & bounds.keys())
    return former | without_id if former or beyond else set()


def _readable(position: Position, there: Bounds, resets: tuple[PositionReset, ...] = ()) -> Reconciled:
    """The position, or the nearest one within the partition's bounds."""
    at, running = position.next_offset, position.running
    if at > there.high:
        why = PositionReset(CUT, f"the topic ends at offset {there.high}, before the position {at}", running)
        # one more, because the dead letter takes the running offset that would have come next
        after = replace(position, next_offset=there.high, base=running + 1 - there.high, base_from=there.high)
        return Reconciled(after, (*resets, why))
    if at < there.low:
        why = PositionReset(LOST, f"offsets {at} to {there.low - 1} were removed before they were read", running)
        return Reconciled(replace(position, next_offset=there.low), (*resets, why))
    return Reconciled(position, resets)


def _recreated(position: Position) -> PositionReset:
    return PositionReset(RECREATED, f"the topic was recreated; the former one was read up to offset {position.next_offset}")


def _letter(partition: int, reset: PositionReset) -> DeadLetter:
    return DeadLetter(partition, reset.at or 0, "land", None, reset.reason, reset.detail)


def _store(connection: Connection, topic: str, partition: int, seen: Position, position: Position) -> None:
    place = {"topic": topic, "partition": partition}
    if seen == NEVER_READ:
        connection.execute(_SQL["open"], place | {"topic_id": None})
    before = {"seen_offset": seen.next_offset, "seen_base": seen.base, "seen_topic_id": seen.topic_id}
    after = {name: getattr(position, name) for name in Position.__dataclass_fields__}
    if connection.execute(_SQL["reconcile"], place | before | after).rowcount != 1:
        raise LostRace(f"{topic}/{partition} is no longer at offset {seen.next_offset}")


def current(topic_id: str, seen: Mapping[int, Position]) -> dict[int, int]:
    """Partition → the next offset to read, for counting lag: 0 in a recreated topic that is not reconciled yet."""
    return {p: position.next_offset if position.topic_id in (None, topic_id) else 0 for p, position in seen.items()}


def losses(connection: Connection) -> list[Row]:
    """The open dead letters of events that can no longer be read: `position`, `reason`, `detail`, `first_at`; oldest first."""
    return connection.execute(_SQL["losses"], {"reasons": list(LOSSES)}).fetchall()


def dismiss(connection: Connection, partition: int, offset: int) -> int:
    """Resolve landing's open dead letter at this running offset, on an operator's decision. Returns how many there were, 0 or 1.

    Dead letters of later stages are not dismissed: their documents' records are failed, and a replay retries them.
    """
    return connection.execute(_SQL["dismiss"], {"partition": partition, "offset": offset}).rowcount


_SQL = statements("events", "sql/positions.sql")
