"""Topics, and reading them from positions that Postgres keeps up to where they end now. Reading on and on is in `events.kafka.group`,
publishing in `events.publish`, what a record means in `events.contract`.

The caller says where to read from, and only the database remembers how far it came.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager
from time import monotonic
from typing import Any, cast

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec  # type: ignore[attr-defined]

from core.errors import HeadraceError
from core.tenancy import valid_tenant
from events.contract import KafkaRecord, topic_of
from events.kafka.batches import Batch, Intake, Place
from events.kafka.client import MAX_EVENT_BYTES, REQUEST_S, Line
from events.kafka.topics import unknown_topic

__all__ = ["GROUP", "Batch", "Place", "Reader", "delete_topics", "ensure_topics", "outcomes_of"]

GROUP = "headrace"
"""Whose committed offsets lag tools look at. Nothing here reads them."""

MAX_RECORDS = 1000
MAX_BYTES = 16 * 1024 * 1024

_LOG = logging.getLogger("headrace.events")
_POLL_S = 0.2
_EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
CONSUMING = {
    "enable.auto.commit": False,
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    # librdkafka's 1 s is a stall between two batches whenever its queue was full
    "fetch.queue.backoff.ms": 10,
    # a new assignment waits for the fetch in hand, and one that finds nothing lasts this long; 500 by default
    "fetch.wait.max.ms": 100,
}


def outcomes_of(tenant: str) -> str:
    """The topic on which a source system learns what became of its events. Raises TenantError where the name is not allowed."""
    return f"outcomes.{valid_tenant(tenant)}"


def ensure_topics(properties: Mapping[str, Any], tenant: str, partitions: int, replication: int) -> None:
    """Create the tenant's two topics where they are missing.

    Those that are there stay as they are: more partitions would break the order of a key's events.
    """
    inlet = NewTopic(topic_of(tenant), partitions, replication, config={"max.message.bytes": str(MAX_EVENT_BYTES)})
    topics = [inlet, NewTopic(outcomes_of(tenant), partitions, replication)]
    with _Administrator(properties) as admin:
        for answer in admin.client.create_topics(topics, operation_timeout=REQUEST_S).values():
            admin.answer(answer, "creating topics", harmless=KafkaError.TOPIC_ALREADY_EXISTS)


def delete_topics(properties: Mapping[str, Any], tenant: str) -> None:
    """Delete the tenant's two topics with all they hold. Those that are gone already are no error."""
    names = [topic_of(tenant), outcomes_of(tenant)]
    with _Administrator(properties) as admin:
        for answer in admin.client.delete_topics(names, operation_timeout=REQUEST_S).values():
            admin.answer(answer, "deleting topics", harmless=KafkaError.UNKNOWN_TOPIC_OR_PART)


class _Administrator:
    """An AdminClient whose answers are waited for and whose errors are ours."""

    def __init__(self, properties: Mapping[str, Any]) -> None:
        self._line = Line()
        with self._line.translated("connecting"):
            self.client = AdminClient(self._line.configuration(properties))

    def __enter__(self) -> _Administrator:
        return self

    def __exit__(self, *exc: object) -> None:
        self.client.poll(0)  # its last lines go to the log

    def answer(self, future: Future[Any], doing: str, *, harmless: int | None = None) -> Any:
        """What the broker says; None where it says what is `harmless`."""
        with self._line.translated(doing):
            self._wait(future)
            error = future.exception() if future.done() else KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001
            if error is None:
                return future.result()
            if isinstance(error, KafkaException) and error.args[0].code() == harmless:
                return None
            raise error

    def _wait(self, future: Future[Any]) -> None:
        """Until it is answered or the login is refused: librdkafka would go on asking until its own time is up."""
        until = monotonic() + 2 * REQUEST_S
        while not wait([future], timeout=_POLL_S).done and not self._line.refusal and monotonic() < until:
            self.client.poll(0)


class Reader:
    """Reads committed records from given positions. It does one thing at a time and is not for two threads.

    `patience_s` bounds how long reading up to a known end may stand still before the broker counts as gone.
    Every method raises Unavailable where the broker does not answer, and HeadraceError where it refuses.
    """

    def __init__(self, properties: Mapping[str, Any], *, patience_s: float = 15.0) -> None:
        self._properties = properties
        self._patience_s = patience_s
        self._line = Line()
        with self._line.translated("connecting"):
            self._consumer = Consumer(self._line.configuration(properties, **CONSUMING, **{"group.id": GROUP}, on_commit=_note_commit))
        self._admin = _Administrator(properties)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *exc: object) -> None:
        self._consumer.close()

    def partitions(self, topic: str) -> list[int]:
        """The topic's partitions. Raises HeadraceError `unknown-topic`."""
        return [partition for _, partition in self._places([topic])]

    def high_watermarks(self, topics: Iterable[str]) -> dict[Place, int]:
        """Where a reader of committed records comes to an end for now: the last stable offset of every partition."""
        return self._offsets(self._places(topics), _LATEST)

    def low_watermarks(self, topics: Iterable[str]) -> dict[Place, int]:
        """The first offset that every partition still has."""
        return self._offsets(self._places(topics), _EARLIEST)

    def offsets_since(self, topic: str, timestamp_ms: int) -> dict[Place, int]:
        """The first offset of each partition whose record is not older, in milliseconds since 1970; partitions without one are left out."""
        since: OffsetSpec = OffsetSpec.for_timestamp(timestamp_ms)
        return {place: at for place, at in self._offsets(self._places([topic]), since).items() if at >= 0}

    def bounds(self, places: Iterable[Place]) -> tuple[dict[Place, int], dict[Place, int]]:
        """The first offsets of these partitions, and the ones after their last committed records."""
        wanted = list(places)
        return self._offsets(wanted, _EARLIEST), self._offsets(wanted, _LATEST)

    def out_of_range(self, positions: Mapping[Place, int]) -> dict[Place, HeadraceError]:
        """The positions that cannot be read from, and why: `events-lost-to-retention` or `offset-out-of-range`."""
        return _misplaced(positions, *self.bounds(positions))

    def read_batches(
        self,
        positions: Mapping[Place, int],
        max_records: int = MAX_RECORDS,
        max_bytes: int = MAX_BYTES,
        until: Mapping[Place, int] | None = None,
    ) -> Generator[Batch, None, None]:
        """Everything from these positions up to the ends as of now, in order within a partition.

        Where `until` is given, no record at or beyond it, and not beyond the end.
        All partitions together hold at most `max_records`, and `max_bytes` but for one record, at a time.
        Raises what `out_of_range` gives, before anything is read.
        """
        low, ends = self.bounds(positions)
        for error in _misplaced(positions, low, ends).values():
            raise error
        if until is not None:
            ends = {place: min(end, until[place]) for place, end in ends.items()}
        intake = Intake(max_records, max_bytes)
        for place, at in positions.items():
            if at < ends[place]:
                intake.open(place, at)
        with self._assigned(intake):
            yield from self._drain(intake, ends)

    def read_one(self, topic: str, partition: int, offset: int) -> KafkaRecord | None:
        """The record at this offset, or None where there is none (any more)."""
        place = (topic, partition)
        low, ends = self.bounds([place])
        if not low[place] <= offset < ends[place]:
            return None
        intake = Intake(1, 1)
        intake.open(place, offset)
        with self._assigned(intake):
            first = next(self._drain(intake, ends))
        return next((record for record in first.records if record.offset == offset), None)

    def commit(self, positions: Mapping[Place, int]) -> None:
        """Tell lag tools how far we are, in the background. A failure is logged and changes nothing."""
        offsets = [TopicPartition(topic, partition, at) for (topic, partition), at in positions.items()]
        if offsets:
            self._consumer.commit(offsets=offsets, asynchronous=True)

    def _places(self, topics: Iterable[str]) -> list[Place]:
        wanted = list(topics)
        # the consumer's question: the administrator's would create a missing topic where the broker lets it
        with self._line.translated("listing topics"):
            known = self._consumer.list_topics(wanted[0] if len(wanted) == 1 else None, timeout=REQUEST_S).topics
        for topic in wanted:
            if topic not in known or known[topic].error:
                unknown_topic(topic)
        return [(topic, partition) for topic in wanted for partition in sorted(known[topic].partitions)]

    def _offsets(self, places: Iterable[Place], which: OffsetSpec) -> dict[Place, int]:
        wanted = {TopicPartition(*place): which for place in places}
        if not wanted:
            return {}
        try:
            return self._ask(wanted)
        except HeadraceError as error:
            if error.reason != "kafka-error":
                raise
        # an administrator that knows the partitions' leaders of before a restart is fenced off, for as long as it remembers them
        self._admin = _Administrator(self._properties)
        return self._ask(wanted)

    def _ask(self, wanted: dict[TopicPartition, OffsetSpec]) -> dict[Place, int]:
        committed = IsolationLevel.READ_COMMITTED
        answers = self._admin.client.list_offsets(wanted, isolation_level=committed, request_timeout=REQUEST_S)
        return {(at.topic, at.partition): self._admin.answer(answer, "asking for offsets").offset for at, answer in answers.items()}

    @contextmanager
    def _assigned(self, intake: Intake) -> Iterator[None]:
        self._assign(intake)
        try:
            yield
        finally:
            self._consumer.unassign()

    def _assign(self, intake: Intake) -> None:
        with self._line.translated("assigning partitions"):
            self._consumer.assign([TopicPartition(*place, at) for place, at in intake.positions.items()])

    def _drain(self, intake: Intake, ends: Mapping[Place, int]) -> Generator[Batch, None, None]:
        while intake:
            for message in self._next_messages():
                place = place_of(message)
                if place not in intake:
                    continue  # came after the end that was asked for
                self._put_or_end(intake, message, ends[place])
                if intake.full:
                    yield from intake.clear()
                if (intake.position(place) or 0) >= ends[place]:
                    yield from intake.finish(place)

    def _next_messages(self) -> list[Message]:
        until = monotonic() + self._patience_s
        while monotonic() < until:
            if messages := self._gather(MAX_RECORDS, 0):
                return messages
        raise self._line.ours(KafkaError(KafkaError._TIMED_OUT), "reading")  # noqa: SLF001 - the library's public name for it

    def _gather(self, most: int, linger_s: float) -> list[Message]:
        first = self._consumer.poll(_POLL_S)
        return [] if first is None else [first, *self._consumer.consume(most, linger_s)]

    def _put(self, intake: Intake, message: Message) -> None:
        error = message.error()
        if error is None:
            intake.add(record_of(message))
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            intake.skip_to(place_of(message), message.offset() or 0)
        elif not error.retriable():
            raise self._unreadable(place_of(message), intake, error)

    def _put_or_end(self, intake: Intake, message: Message, end: int) -> None:
        """A gap may lead from before the end to beyond it."""
        if message.error() is None and (message.offset() or 0) >= end:
            intake.skip_to(place_of(message), end)
        else:
            self._put(intake, message)

    def _unreadable(self, place: Place, intake: Intake, error: KafkaError) -> HeadraceError:
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
            at = intake.position(place) or 0
            return self.out_of_range({place: at}).get(place) or self._line.ours(error, "reading")
        return self._line.ours(error, "reading")


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


def place_of(message: Message) -> Place:
    return str(message.topic()), int(message.partition() or 0)


def record_of(message: Message) -> KafkaRecord:
    headers = tuple(cast("list[tuple[str, bytes | None]]", message.headers() or []))
    return KafkaRecord(*place_of(message), message.offset() or 0, message.timestamp()[1], message.key(), message.value(), headers)


def _note_commit(error: KafkaError | None, _: list[TopicPartition]) -> None:
    # while a stream runs the group is its members', and they tell
    if error and error.code() not in (KafkaError.UNKNOWN_MEMBER_ID, KafkaError.STALE_MEMBER_EPOCH):
        _LOG.warning("the offsets for lag tools were not written: %s", error.name())
