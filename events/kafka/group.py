"""A member of the consumer group: the broker says which partitions are ours, the database from where each is read.

Several members, on one host or many, share the tenants' topics under Kafka's own protocol for it (KIP-848). Who reads what is the
broker's word and may be late: that an event lands once is the position's compare-and-set in `events.landing`, not this.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from events.kafka.batches import Batch, Intake, Place
from events.kafka.client import Line
from events.kafka.reader import CONSUMING, GROUP, place_of, record_of

_MEMBER = {
    **CONSUMING,
    "group.protocol": "consumer",
    # how long one landing, or a server that is waited for, may keep us from asking for more
    "max.poll.interval.ms": 5 * 60 * 1000,
    # what the client holds ahead of us
    "queued.max.messages.kbytes": 32 * 1024,
}
_ASK_S = 1.0
_BRIEF = 64
"""Records are taken at a time, so that rebalances and other topics get their turn."""


class Member:
    """One consumer of the group. For one thread. Use it as a context manager: leaving hands its partitions to the others at once.

    A partition that is given to it has `arrived`, and is read from when `open` says where. One that cannot be read any further there (it
    was lost to retention, or the topic was made anew) arrives again, and so does one that the caller `forget`s.
    Every method raises Unavailable where the broker does not answer and HeadraceError where it refuses.
    """

    def __init__(self, properties: Mapping[str, Any], name: str, *, max_records: int, max_bytes: int) -> None:
        self._line = Line()
        self._intake = Intake(max_records, max_bytes)
        self._arrived: set[Place] = set()
        self._paused: set[Place] = set()
        self._topics: list[str] = []
        with self._line.translated("joining the group"):
            self._consumer = Consumer(self._line.configuration(properties, **_MEMBER, **{"group.id": GROUP, "client.id": name}))

    def __enter__(self) -> Member:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._consumer.close()

    @property
    def arrived(self) -> frozenset[Place]:
        """Partitions that are ours and wait to be opened."""
        return frozenset(self._arrived)

    @property
    def places(self) -> frozenset[Place]:
        """Partitions that are ours and are read."""
        return frozenset(self._intake.positions)

    def silent(self) -> str | None:
        """Why no broker answers, or None. Asks one where none did before."""
        if self._line.silence:
            with suppress(KafkaException):
                self._consumer.list_topics(self._topics[0] if self._topics else None, timeout=_ASK_S)
                self._line.heard()
        return self._line.silence

    def subscribe(self, topics: Iterable[str]) -> None:
        """Share in these topics, and in no other from now on."""
        wanted = sorted(topics)
        if wanted == self._topics:
            return
        with self._line.translated("subscribing"):
            if wanted:
                self._consumer.subscribe(wanted, on_assign=self._given, on_revoke=self._taken, on_lost=self._taken)
            else:
                self._consumer.unsubscribe()
        self._topics = wanted

    def open(self, positions: Mapping[Place, int]) -> None:
        """Read these of the arrived partitions, each from its offset on."""
        ours = {place: at for place, at in positions.items() if place in self._arrived}
        if not ours:
            return
        with self._line.translated("opening partitions"):
            # assigned once more: that drops whatever was fetched from elsewhere, and a seek fails on one that is not being fetched yet
            self._consumer.incremental_unassign([TopicPartition(*place) for place in ours])
            self._consumer.incremental_assign([TopicPartition(*place, at) for place, at in ours.items()])
            self._consumer.resume([TopicPartition(*place) for place in ours])
        for place, at in ours.items():
            self._intake.open(place, at)
        self._arrived -= ours.keys()

    def forget(self, place: Place) -> None:
        """Drop what was read of this partition and not landed; it arrives again."""
        if place in self._intake:
            self._intake.drop(place)
            self._set_aside([place])

    def poll(self, timeout_s: float) -> Iterator[Batch]:
        """What has come, in order within a partition; waits at most `timeout_s` where nothing has. Rebalances happen in here."""
        with self._line.translated("reading"):
            first = self._consumer.poll(timeout_s)
            messages = [] if first is None else [first, *self._consumer.consume(_BRIEF, 0)]
        for message in messages:
            self._put(message)
            if self._intake.full:
                yield from self._intake.clear()
        yield from self._intake.clear()

    def hold(self, held: Collection[str]) -> None:
        """Fetch nothing of these topics until they are left out again. What was fetched of them is dropped and fetched anew by then."""
        wanted = {place for place in self._intake.positions if place[0] in held}
        self._switch(self._consumer.pause, wanted - self._paused)
        self._switch(self._consumer.resume, self._paused - wanted)
        self._paused = wanted

    def lag(self) -> dict[Place, int]:
        """Events between our position and the end that was last heard of, by partition. Asks nobody."""
        return {place: self._behind(place, at) for place, at in self._intake.positions.items()}

    def commit(self, place: Place, at: int) -> None:
        """Tell lag tools how far we are, in the background."""
        with suppress(KafkaException):
            self._consumer.commit(offsets=[TopicPartition(*place, at)], asynchronous=True)

    def _behind(self, place: Place, at: int) -> int:
        _, high = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
        return max(0, high - at)

    def _given(self, consumer: Consumer, given: list[TopicPartition]) -> None:
        places = [(one.topic, one.partition) for one in given]
        consumer.incremental_assign([TopicPartition(*place, 0) for place in places])
        self._set_aside(places)

    def _set_aside(self, places: list[Place]) -> None:
        """Ours, and not read until we know from where."""
        self._arrived.update(places)
        self._paused.difference_update(places)
        self._consumer.pause([TopicPartition(*place) for place in places])

    def _taken(self, consumer: Consumer, taken: list[TopicPartition]) -> None:
        for place in ((one.topic, one.partition) for one in taken):
            self._arrived.discard(place)
            self._paused.discard(place)
            if place in self._intake:
                self._intake.drop(place)
        consumer.incremental_unassign(taken)

    def _put(self, message: Message) -> None:
        self._line.heard()
        place, error = place_of(message), message.error()
        if error is not None and message.topic() is None and not error.retriable():
            raise self._line.ours(error, "reading")
        if place not in self._intake:
            return  # fetched before it was set aside, or taken from us
        if error is None:
            self._intake.add(record_of(message))
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the library's public name for it
            self._intake.skip_to(place, message.offset() or 0)
        elif not error.retriable():
            self.forget(place)

    def _switch(self, how: Any, places: set[Place]) -> None:
        if places:
            try:
                how([TopicPartition(*place) for place in places])
            except KafkaException as error:
                raise self._line.ours(error.args[0], "pausing partitions") from error
