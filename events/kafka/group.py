"""A member of the consumer group: the broker assigns partitions, the database says where each is read from.

Several members, on one host or many, share the tenants' topics under Kafka's consumer group protocol (KIP-848). A member may learn of a
rebalance late, so the assignment does not guarantee that an event lands once: the compare-and-set of `events.positions.move` does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from core.errors import HeadraceError, Unavailable
from events.kafka.bad_batches import SILENCE_S, doubtful, end_of, suspected, why
from events.kafka.batches import Batch, Place, RecordBuffer
from events.kafka.client import ClientErrors
from events.kafka.messages import CONSUMING, GROUP, is_bad_batch, place_of, record_of, record_of_batch

_MEMBER = {
    **CONSUMING,
    "group.protocol": "consumer",
    # how long one landing, or waiting for a server, may delay the next poll
    "max.poll.interval.ms": 5 * 60 * 1000,
    # how much the client prefetches
    "queued.max.messages.kbytes": 32 * 1024,
}
_PROBE_S = 1.0
_POLL_RECORDS = 64
"""Most records of one poll; few, so that rebalances and other topics are served in between."""


@dataclass(frozen=True)
class _Doubt:
    """A batch that the client may not be able to read: the first of its offsets that was to be read, why, and the search for its end.

    `message`: what is doubted, None for silence.
    """

    start: int
    message: Message | None
    end: Future[int]


class Member:
    """One consumer of the group. Not thread-safe. A context manager: on exit, its partitions are reassigned to other members at once.

    An assigned partition is `unopened` until `open` says where to read from. It becomes unopened again if it cannot be read from there
    (its records were removed by retention, or the topic was recreated), or if the caller `discard`s it.
    Every method raises Unavailable if the broker does not answer, HeadraceError if it refuses.
    """

    def __init__(self, properties: Mapping[str, Any], name: str, *, max_records: int, max_bytes: int) -> None:
        self._errors = ClientErrors()
        self._buffer = RecordBuffer(max_records, max_bytes)
        self._unopened: set[Place] = set()
        self._paused: set[Place] = set()
        self._topics: list[str] = []
        self._properties = properties
        self._doubts: dict[Place, _Doubt] = {}
        self._with_gaps: set[Place] = set()  # by transactions or compaction: there, a gap is no sign of a batch that cannot be read
        self._heard: set[Place] = set()
        self._looked = monotonic()
        self._searches = ThreadPoolExecutor(1, "batch-ends")
        with self._errors.translated("joining the group"):
            self._consumer = Consumer(self._errors.configuration(properties, **_MEMBER, **{"group.id": GROUP, "client.id": name}))

    def __enter__(self) -> Member:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._consumer.close()
        self._searches.shutdown(cancel_futures=True)

    @property
    def unopened(self) -> frozenset[Place]:
        """Assigned partitions that are not read yet."""
        return frozenset(self._unopened)

    @property
    def places(self) -> frozenset[Place]:
        """Assigned partitions that are read."""
        return frozenset(self._buffer.positions)

    def outage(self) -> str | None:
        """Why no broker is reached, or None. Probes a broker if none was reached before."""
        if self._errors.outage:
            with suppress(KafkaException):
                self._consumer.list_topics(self._topics[0] if self._topics else None, timeout=_PROBE_S)
                self._errors.clear_outage()
        return self._errors.outage

    def subscribe(self, topics: Iterable[str]) -> None:
        """Subscribe to these topics only."""
        requested = sorted(topics)
        if requested == self._topics:
            return
        with self._errors.translated("subscribing"):
            if requested:
                self._consumer.subscribe(requested, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)
            else:
                self._consumer.unsubscribe()
        self._topics = requested

    def open(self, positions: Mapping[Place, int]) -> None:
        """Read these partitions, each from its offset on; those that are not in `unopened` are ignored."""
        ours = {place: at for place, at in positions.items() if place in self._unopened}
        if not ours:
            return
        self._read_from(ours)
        for place, at in ours.items():
            self._buffer.open(place, at)
        self._unopened -= ours.keys()

    def discard(self, place: Place) -> None:
        """Discard what was read of this partition and not returned; it is unopened again."""
        if place in self._buffer:
            self._buffer.drop(place)
            self._mark_unopened([place])

    def poll(self, timeout_s: float) -> Iterator[Batch]:
        """The records that have arrived, in order within a partition; waits up to `timeout_s` for the first. Rebalances happen in here."""
        self._pass_over_bad_batches()
        with self._errors.translated("reading"):
            first = self._consumer.poll(timeout_s)
            messages = [] if first is None else [first, *self._consumer.consume(_POLL_RECORDS, 0)]
        for message in messages:
            self._add(message)
            if self._buffer.full:
                yield from self._buffer.flush()
        if len(messages) <= _POLL_RECORDS:  # all that had arrived
            self._doubt_silent()
        yield from self._buffer.flush()

    def pause(self, topics: Collection[str]) -> None:
        """Pause fetching these topics and resume all others. librdkafka discards what it prefetched of a paused topic."""
        paused = {place for place in self._buffer.positions if place[0] in topics}
        self._switch(self._consumer.pause, paused - self._paused)
        self._switch(self._consumer.resume, self._paused - paused)
        self._paused = paused

    def lag(self) -> dict[Place, int]:
        """Partition → events between the position and the last known end. Sends no request."""
        return {place: self._behind(place, at) for place, at in self._buffer.positions.items()}

    def commit(self, place: Place, at: int) -> None:
        """Commit a position for lag tools, in the background."""
        with suppress(KafkaException):
            self._consumer.commit(offsets=[TopicPartition(*place, at)], asynchronous=True)

    def _read_from(self, positions: Mapping[Place, int]) -> None:
        with self._errors.translated("opening partitions"):
            # reassigned, which discards what was fetched from elsewhere: a seek fails on a partition that is not being fetched yet
            self._consumer.incremental_unassign([TopicPartition(*place) for place in positions])
            self._consumer.incremental_assign([TopicPartition(*place, at) for place, at in positions.items()])
            self._consumer.resume([TopicPartition(*place) for place in positions])
        self._paused -= positions.keys()
        self._heard |= positions.keys()

    def _behind(self, place: Place, at: int) -> int:
        _, high = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
        return max(0, high - at)

    def _assigned(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        places = [(one.topic, one.partition) for one in assigned]
        consumer.incremental_assign([TopicPartition(*place, 0) for place in places])
        self._mark_unopened(places)

    def _mark_unopened(self, places: list[Place]) -> None:
        """Not fetched until `open` says from where."""
        self._unopened.update(places)
        self._forget(places)
        self._consumer.pause([TopicPartition(*place) for place in places])

    def _revoked(self, consumer: Consumer, revoked: list[TopicPartition]) -> None:
        places = [(one.topic, one.partition) for one in revoked]
        self._forget(places)
        for place in places:
            self._unopened.discard(place)
            if place in self._buffer:
                self._buffer.drop(place)
        consumer.incremental_unassign(revoked)

    def _add(self, message: Message) -> None:
        self._errors.clear_outage()
        place, error = place_of(message), message.error()
        if error is not None and message.topic() is None:
            self._raise_lasting(error)
        if place not in self._buffer or (place in self._doubts and self._doubts[place].message is not None):
            return  # fetched before it was discarded or revoked; or read again once it is clear from where
        self._end_silence(place)
        if doubtful(message, self._buffer.position(place) or 0, with_gaps=place in self._with_gaps):
            self._doubt(place, message)
        elif error is None:
            self._buffer.add(record_of(message))
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the library's public name for it
            self._buffer.skip_to(place, message.offset() or 0)
        elif not error.retriable():
            self.discard(place)

    def _raise_lasting(self, error: KafkaError) -> None:
        """Raise an error of the whole client, unless it passes: a client that did not poll in time has left the group and rejoins it."""
        if not error.retriable() and error.code() != KafkaError._MAX_POLL_EXCEEDED:  # noqa: SLF001
            raise self._errors.translate(error, "reading")

    def _doubt_silent(self) -> None:
        """Doubt partitions of which nothing has come for a while, though they have records."""
        if monotonic() - self._looked < SILENCE_S:
            return
        for place in [place for place, behind in self.lag().items() if behind and place not in self._heard]:
            if place not in self._paused and place not in self._doubts:
                self._doubt(place, None)
        self._heard, self._looked = set(), monotonic()

    def _doubt(self, place: Place, message: Message | None) -> None:
        """Look whether the client can read the batch at the position, in a thread of its own: other partitions need not wait."""
        start, first = suspected(message, self._buffer.position(place) or 0)
        end = self._searches.submit(end_of, self._properties, place, start, first)
        self._doubts[place] = _Doubt(start, message, end)

    def _end_silence(self, place: Place) -> None:
        self._heard.add(place)
        if doubt := self._doubts.pop(place, None):
            doubt.end.cancel()

    def _pass_over_bad_batches(self) -> None:
        """Move over the batches whose ends are found: one record stands for all of a batch's. A search that failed is repeated."""
        for place, doubt in [(place, doubt) for place, doubt in self._doubts.items() if doubt.end.done()]:
            del self._doubts[place]
            try:
                end = doubt.end.result()
            except Unavailable:
                self._read_from({place: doubt.start})
                continue
            except HeadraceError:
                self.discard(place)
                continue
            if end > doubt.start:
                self._buffer.add(record_of_batch(place, doubt.start, end, why(doubt.message)))
                self._buffer.skip_to(place, end)
            elif doubt.message is not None and not is_bad_batch(doubt.message):
                self._with_gaps.add(place)
            self._read_from({place: end})

    def _forget(self, places: Iterable[Place]) -> None:
        """What was known of these partitions while they were read."""
        for place in places:
            self._paused.discard(place)
            self._with_gaps.discard(place)
            self._doubts.pop(place, None)

    def _switch(self, method: Any, places: set[Place]) -> None:
        if places:
            with self._errors.translated("pausing partitions"):
                method([TopicPartition(*place) for place in places])
