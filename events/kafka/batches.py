"""How records become batches: `Batch`, and the buffer that collects records by partition within common limits. No Kafka client here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from events.contract import KafkaRecord

Place = tuple[str, int]
"""Topic and partition."""


@dataclass(frozen=True)
class Batch:
    """Records of one partition in order, and the positions around them.

    `start` is the position before the first record, `end` the one after the last. Transactions and compaction leave gaps, so
    `end - start` may exceed `len(records)`, and a batch may have no records at all: its position still has to move.
    """

    topic: str
    partition: int
    start: int
    end: int
    records: tuple[KafkaRecord, ...]


@dataclass
class _Partition:
    """One partition's records since its last batch."""

    start: int
    position: int
    records: list[KafkaRecord] = field(default_factory=list)


class RecordBuffer:
    """Records by partition, with common limits: full at `max_records`, or at `max_bytes`, which the last record may exceed."""

    def __init__(self, max_records: int, max_bytes: int) -> None:
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._partitions: dict[Place, _Partition] = {}
        self._records = 0
        self._bytes = 0

    def __contains__(self, place: Place) -> bool:
        return place in self._partitions

    def __len__(self) -> int:
        return len(self._partitions)

    @property
    def full(self) -> bool:
        return self._records >= self._max_records or self._bytes >= self._max_bytes

    @property
    def positions(self) -> dict[Place, int]:
        """The next offset of every open partition."""
        return {place: partition.position for place, partition in self._partitions.items()}

    def position(self, place: Place) -> int | None:
        """The next offset of this partition, or None if it is not open."""
        partition = self._partitions.get(place)
        return partition.position if partition else None

    def open(self, place: Place, position: int) -> None:
        """Collect records of this partition, from `position` on."""
        self._partitions[place] = _Partition(position, position)

    def drop(self, place: Place) -> None:
        """Close a partition and discard its records."""
        self._release(self._partitions.pop(place))

    def add(self, record: KafkaRecord) -> None:
        partition = self._partitions[record.topic, record.partition]
        partition.records.append(record)
        partition.position = record.offset + 1
        self._records += 1
        self._bytes += record.size

    def skip_to(self, place: Place, position: int) -> None:
        """Move over a gap: offsets without a record that a reader may see."""
        partition = self._partitions[place]
        partition.position = max(partition.position, position)

    def close(self, place: Place) -> Iterator[Batch]:
        """Close a partition; yields its last batch, if it has one."""
        yield from self._flushed(place)
        del self._partitions[place]

    def flush(self) -> Iterator[Batch]:
        """One batch of every partition whose position has moved."""
        for place in list(self._partitions):
            yield from self._flushed(place)

    def _flushed(self, place: Place) -> Iterator[Batch]:
        partition = self._partitions[place]
        if partition.position == partition.start:
            return
        self._release(partition)
        self.open(place, partition.position)
        yield Batch(*place, partition.start, partition.position, tuple(partition.records))

    def _release(self, partition: _Partition) -> None:
        self._records -= len(partition.records)
        self._bytes -= sum(record.size for record in partition.records)
