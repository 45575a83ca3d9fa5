"""Records on their way from partitions into batches: what a batch is, and how much of them is held at a time. No client here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from events.contract import KafkaRecord

Place = tuple[str, int]
"""Topic and partition."""


@dataclass(frozen=True)
class Batch:
    """Records of one partition in order, and the positions around them.

    `start` is the position it was read from, `end` the one after it. Transactions and compaction leave gaps, so `end - start` may be more
    than `len(records)`, and a batch may have no records at all: its position still has to move.
    """

    topic: str
    partition: int
    start: int
    end: int
    records: tuple[KafkaRecord, ...]


@dataclass
class _Shelf:
    """One partition's records since the last batch."""

    start: int
    position: int
    records: list[KafkaRecord] = field(default_factory=list)


class Intake:
    """Shelves by partition, bounded together: it is full at `max_records`, or at `max_bytes` (which one record may pass)."""

    def __init__(self, max_records: int, max_bytes: int) -> None:
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._shelves: dict[Place, _Shelf] = {}
        self._records = 0
        self._bytes = 0

    def __contains__(self, place: Place) -> bool:
        return place in self._shelves

    def __len__(self) -> int:
        return len(self._shelves)

    @property
    def full(self) -> bool:
        return self._records >= self._max_records or self._bytes >= self._max_bytes

    @property
    def positions(self) -> dict[Place, int]:
        """The next offset of every partition that is being read."""
        return {place: shelf.position for place, shelf in self._shelves.items()}

    def position(self, place: Place) -> int | None:
        """The next offset of this partition, or None where it is not being read."""
        shelf = self._shelves.get(place)
        return shelf.position if shelf else None

    def open(self, place: Place, position: int) -> None:
        self._shelves[place] = _Shelf(position, position)

    def drop(self, place: Place) -> None:
        """Forget a partition and what has not become a batch."""
        self._empty(self._shelves.pop(place))

    def add(self, record: KafkaRecord) -> None:
        shelf = self._shelves[record.topic, record.partition]
        shelf.records.append(record)
        shelf.position = record.offset + 1
        self._records += 1
        self._bytes += _size(record)

    def skip_to(self, place: Place, position: int) -> None:
        """Move over a gap: offsets without a record that a reader may see."""
        shelf = self._shelves[place]
        shelf.position = max(shelf.position, position)

    def finish(self, place: Place) -> Iterator[Batch]:
        """The partition's last batch; it is not being read any more."""
        yield from self._cleared(place)
        del self._shelves[place]

    def clear(self) -> Iterator[Batch]:
        """One batch of every partition whose position has moved."""
        for place in list(self._shelves):
            yield from self._cleared(place)

    def _cleared(self, place: Place) -> Iterator[Batch]:
        shelf = self._shelves[place]
        if shelf.position == shelf.start:
            return
        self._empty(shelf)
        self._shelves[place] = _Shelf(shelf.position, shelf.position)
        yield Batch(*place, shelf.start, shelf.position, tuple(shelf.records))

    def _empty(self, shelf: _Shelf) -> None:
        self._records -= len(shelf.records)
        self._bytes -= sum(map(_size, shelf.records))


def _size(record: KafkaRecord) -> int:
    return len(record.key or b"") + len(record.value or b"")
