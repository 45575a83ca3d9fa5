"""Reading committed records from given positions up to the current ends of their partitions.

The caller says where to read from; only the database stores how far it came. Reading without end is in `events.kafka.group`, topics are
administered in `events.kafka.topics`, and `events.contract` says what a record means.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

from confluent_kafka import Consumer, IsolationLevel, KafkaError, Message, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]

from core.errors import HeadraceError
from events.contract import KafkaRecord
from events.kafka.admin import Admin
from events.kafka.bad_batches import SILENCE_S, doubtful, end_of, suspected, why
from events.kafka.batches import Batch, Place, RecordBuffer
from events.kafka.client import NO_LEADER, REQUEST_S, ClientErrors, KafkaUnavailable
from events.kafka.messages import CONSUMING, GROUP, place_of, record_of, record_of_batch
from events.kafka.topics import unknown_topic

MAX_RECORDS = 1000
MAX_BYTES = 16 * 1024 * 1024

_LOG = logging.getLogger("headrace.events")
_POLL_S = 0.2
_ELECTION_S = 2.0
"""How long a partition without a leader is waited for: that of a new topic has one within milliseconds."""
_EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]


class Reader:
    """Reads committed records from given positions. Not thread-safe.

    `patience_s`: reading up to a known end raises Unavailable if no message comes for this many seconds.
    Every method raises Unavailable if the broker does not answer, HeadraceError if it refuses.
    """

    def __init__(self, properties: Mapping[str, Any], *, patience_s: float = 15.0) -> None:
        self._properties = properties
        self._patience_s = patience_s
        self._with_gaps: set[Place] = set()  # by transactions or compaction: there, a gap is no sign of a batch that cannot be read
        self._errors = ClientErrors()
        with self._errors.translated("connecting"):
            self._consumer = Consumer(self._errors.configuration(properties, **CONSUMING, **{"group.id": GROUP}, on_commit=_log_commit))
        self._admin = Admin(properties)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *exc: object) -> None:
        self._consumer.close()

    def partitions(self, topic: str) -> list[int]:
        """The topic's partitions. Raises HeadraceError `unknown-topic`."""
        return [partition for _, partition in self._places([topic])]

    def high_watermarks(self, topics: Iterable[str]) -> dict[Place, int]:
        """The end of each partition for a reader of committed records: its last stable offset."""
        return self._offsets(self._places(topics), _LATEST)

    def answered_high_watermarks(self, topics: Iterable[str]) -> dict[Place, int]:
        """As `high_watermarks`, without topics that do not exist or have a partition that Kafka does not answer for."""
        found, refused = self._answers(self._existing(topics), _LATEST)
        silent = {topic for topic, _ in refused}
        return {place: at for place, at in found.items() if place[0] not in silent}

    def low_watermarks(self, topics: Iterable[str]) -> dict[Place, int]:
        """The first offset that each partition still has."""
        return self._offsets(self._places(topics), _EARLIEST)

    def offsets_since(self, topic: str, timestamp_ms: int) -> dict[Place, int]:
        """The first offset of each partition whose record is not older than `timestamp_ms`, in milliseconds since 1970.

        Leaves out partitions without such a record.
        """
        since: OffsetSpec = OffsetSpec.for_timestamp(timestamp_ms)
        return {place: at for place, at in self._offsets(self._places([topic]), since).items() if at >= 0}

    def bounds(self, places: Iterable[Place]) -> tuple[dict[Place, int], dict[Place, int]]:
        """The first offsets of these partitions, and their last stable offsets."""
        requested = list(places)
        return self._offsets(requested, _EARLIEST), self._offsets(requested, _LATEST)

    def out_of_range(self, positions: Mapping[Place, int]) -> dict[Place, HeadraceError]:
        """The positions that cannot be read from, and the errors: `events-lost-to-retention` or `offset-out-of-range`."""
        return _misplaced(positions, *self.bounds(positions))

    def read_batches(
        self,
        positions: Mapping[Place, int],
        max_records: int = MAX_RECORDS,
        max_bytes: int = MAX_BYTES,
        until: Mapping[Place, int] | None = None,
    ) -> Generator[Batch, None, None]:
        """The records from these positions up to the current ends, in order within a partition.

        `until` lowers the ends; offsets beyond the current end are not waited for. All partitions together buffer at most `max_records`,
        and at most `max_bytes` except for the last record. Raises an error of `out_of_range` before anything is read.
        """
        low, ends = self.bounds(positions)
        for error in _misplaced(positions, low, ends).values():
            raise error
        if until is not None:
            ends = {place: min(end, until[place]) for place, end in ends.items()}
        buffer = RecordBuffer(max_records, max_bytes)
        for place, at in positions.items():
            if at < ends[place]:
                buffer.open(place, at)
        with self._assigned(buffer):
            yield from self._drain(buffer, ends)

    def read_one(self, topic: str, partition: int, offset: int) -> KafkaRecord | None:
        """The record at this offset, or None if there is none, or none any more."""
        place = (topic, partition)
        low, ends = self.bounds([place])
        if not low[place] <= offset < ends[place]:
            return None
        buffer = RecordBuffer(1, 1)
        buffer.open(place, offset)
        with self._assigned(buffer):
            first = next(self._drain(buffer, ends))
        return next((record for record in first.records if record.offset == offset), None)

    def commit(self, positions: Mapping[Place, int]) -> None:
        """Commit positions for lag tools, in the background. A failure is logged and changes nothing."""
        offsets = [TopicPartition(topic, partition, at) for (topic, partition), at in positions.items()]
        if offsets:
            self._consumer.commit(offsets=offsets, asynchronous=True)

    def _places(self, topics: Iterable[str]) -> list[Place]:
        """The topics' partitions. Raises HeadraceError `unknown-topic`."""
        requested = list(topics)
        places = self._existing(requested)
        there = {topic for topic, _ in places}
        for topic in requested:
            if topic not in there:
                unknown_topic(topic)
        return places

    def _existing(self, topics: Iterable[str]) -> list[Place]:
        """The partitions of those topics that exist."""
        requested = list(topics)
        # through the consumer: the same request of an AdminClient would create a missing topic if the broker allows it
        with self._errors.translated("listing topics"):
            known = self._consumer.list_topics(requested[0] if len(requested) == 1 else None, timeout=REQUEST_S).topics
        there = [topic for topic in requested if topic in known and not known[topic].error]
        return [(topic, partition) for topic in there for partition in sorted(known[topic].partitions)]

    def _offsets(self, places: Iterable[Place], which: OffsetSpec) -> dict[Place, int]:
        found, refused = self._answers(places, which)
        for error in refused.values():
            raise error
        return found

    def _answers(self, places: Iterable[Place], which: OffsetSpec) -> tuple[dict[Place, int], dict[Place, HeadraceError]]:
        """The offsets, and the errors of partitions without one. Partitions without a leader are asked for again for a while."""
        found: dict[Place, int] = {}
        refused: dict[Place, HeadraceError] = {}
        left, until = list(places), monotonic() + _ELECTION_S
        while left:
            answers, errors = self._list_offsets(left, which)
            found |= answers
            refused = {place: error for place, error in refused.items() if place not in answers} | errors
            left = [place for place, error in errors.items() if error.reason in ("kafka-error", NO_LEADER)]
            if not left or monotonic() > until:
                break
            # after a broker's restart, an AdminClient is fenced for as long as it caches the partitions' former leaders
            self._admin = Admin(self._properties)
            sleep(_POLL_S)
        return found, refused

    def _list_offsets(self, places: Iterable[Place], which: OffsetSpec) -> tuple[dict[Place, int], dict[Place, HeadraceError]]:
        specs = {TopicPartition(*place): which for place in places}
        committed = IsolationLevel.READ_COMMITTED
        futures = self._admin.client.list_offsets(specs, isolation_level=committed, request_timeout=REQUEST_S)
        found: dict[Place, int] = {}
        refused: dict[Place, HeadraceError] = {}
        for at, future in futures.items():
            try:
                found[at.topic, at.partition] = self._admin.result(future, "asking for offsets").offset
            except KafkaUnavailable:
                raise  # no broker answers for the others either
            except HeadraceError as error:
                refused[at.topic, at.partition] = error
        return found, refused

    @contextmanager
    def _assigned(self, buffer: RecordBuffer) -> Iterator[None]:
        self._assign(buffer)
        try:
            yield
        finally:
            self._consumer.unassign()

    def _assign(self, buffer: RecordBuffer) -> None:
        with self._errors.translated("assigning partitions"):
            self._consumer.assign([TopicPartition(*place, at) for place, at in buffer.positions.items()])

    def _drain(self, buffer: RecordBuffer, ends: Mapping[Place, int]) -> Generator[Batch, None, None]:
        silence, suspicious = 0.0, SILENCE_S
        while buffer:
            began = monotonic()
            messages = self._consumed()
            if messages:
                silence, suspicious = 0.0, SILENCE_S
            else:
                silence += monotonic() - began
            if silence > self._patience_s:
                raise self._errors.translate(KafkaError(KafkaError._TIMED_OUT), "reading")  # noqa: SLF001 - the library's public name
            if silence > suspicious:
                before, suspicious = buffer.positions, silence + SILENCE_S
                yield from self._pass_over_silent(buffer, ends)
                if buffer.positions != before:
                    silence, suspicious = 0.0, SILENCE_S
            for message in messages:
                place = place_of(message)
                if place not in buffer:
                    continue  # beyond the requested end
                doubted = doubtful(message, buffer.position(place) or 0, with_gaps=place in self._with_gaps)
                if doubted:
                    self._pass_over(place, ends[place], buffer, message)
                else:
                    self._buffer_up_to(ends[place], buffer, message)
                yield from self._filled(place, ends[place], buffer)
                if doubted:
                    self._assign(buffer)  # what else has arrived is read again
                    break

    def _filled(self, place: Place, end: int, buffer: RecordBuffer) -> Iterator[Batch]:
        if buffer.full:
            yield from buffer.flush()
        if (buffer.position(place) or 0) >= end:
            yield from buffer.close(place)

    def _consumed(self) -> list[Message]:
        first = self._consumer.poll(_POLL_S)
        return [] if first is None else [first, *self._consumer.consume(MAX_RECORDS, 0)]

    def _buffer(self, buffer: RecordBuffer, message: Message) -> None:
        error = message.error()
        if error is None:
            buffer.add(record_of(message))
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            buffer.skip_to(place_of(message), message.offset() or 0)
        elif not error.retriable():
            raise self._unreadable(place_of(message), buffer, error)

    def _buffer_up_to(self, end: int, buffer: RecordBuffer, message: Message) -> None:
        """Buffer the message unless it is beyond `end`: a gap may lead from before the end to beyond it."""
        if message.error() is None and (message.offset() or 0) >= end:
            buffer.skip_to(place_of(message), end)
        else:
            self._buffer(buffer, message)

    def _pass_over_silent(self, buffer: RecordBuffer, ends: Mapping[Place, int]) -> Iterator[Batch]:
        """Nothing comes, though no partition is at its end: move over batches that the client cannot read."""
        for place in buffer.positions:
            self._pass_over(place, ends[place], buffer, None)
            yield from self._filled(place, ends[place], buffer)
        self._assign(buffer)

    def _pass_over(self, place: Place, end: int, buffer: RecordBuffer, message: Message | None) -> None:
        """Move over the batch at the position if the client cannot read it, up to `end`: one record stands for all of its records."""
        start, first = suspected(message, buffer.position(place) or 0)
        behind = end_of(self._properties, place, start, first) if start < end else start
        if behind > start:
            buffer.add(record_of_batch(place, start, min(end, behind), why(message)))
        elif message is not None and first is None:
            self._with_gaps.add(place)
        buffer.skip_to(place, min(end, behind))

    def _unreadable(self, place: Place, buffer: RecordBuffer, error: KafkaError) -> HeadraceError:
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
            at = buffer.position(place) or 0
            return self.out_of_range({place: at}).get(place) or self._errors.translate(error, "reading")
        return self._errors.translate(error, "reading")


def _misplaced(positions: Mapping[Place, int], low: Mapping[Place, int], high: Mapping[Place, int]) -> dict[Place, HeadraceError]:
    lost = {place: _lost(place, at, low[place]) for place, at in positions.items() if at < low[place]}
    beyond = {place: _beyond(place, at, high[place]) for place, at in positions.items() if at > high[place]}
    return lost | beyond


def _lost(place: Place, at: int, low: int) -> HeadraceError:
    return HeadraceError(
        f"{place[0]}/{place[1]}: offsets {at} to {low - 1} were removed before they were read",
        reason="events-lost-to-retention",
        remedy="Publish these documents again, or keep events for longer.",
    )


def _beyond(place: Place, at: int, high: int) -> HeadraceError:
    return HeadraceError(
        f"{place[0]}/{place[1]}: the position is {at} and the topic ends at {high}",
        reason="offset-out-of-range",
        remedy="Was the topic deleted and created again?",
    )


def _log_commit(error: KafkaError | None, _: list[TopicPartition]) -> None:
    # while a stream runs, the group belongs to its members, and they commit
    if error and error.code() not in (KafkaError.UNKNOWN_MEMBER_ID, KafkaError.STALE_MEMBER_EPOCH):
        _LOG.warning("the offsets for lag tools were not committed: %s", error.name())
