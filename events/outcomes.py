"""Outcomes on Kafka: publishing each event's outcome to `outcomes.<tenant>`, and reading them there, for source systems.

`core.outcomes` stores outcomes until they are published; docs/events.md documents the record.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Literal

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from core.records import decode, encode
from events.kafka.client import ELECTING, REQUEST_S, ClientErrors
from events.kafka.topics import outcomes_of

_LOG = logging.getLogger("headrace.outcomes")
_POLL_S = 0.2
_ELECTION_S = 0.1
_PRODUCING = {
    "acks": "all",
    "enable.idempotence": True,
    "compression.type": "zstd",
    "linger.ms": 5,
    # a topic that does not exist is known so within this time (30 s by default), and delays the other tenants' outcomes no longer
    "topic.metadata.propagation.max.ms": 1000,
    # librdkafka's default, by name: with another one a document's next outcomes would be in another partition than its earlier ones
    "partitioner": "consistent_random",
}
_CONSUMING = {"enable.auto.commit": False, "fetch.wait.max.ms": 100}


class Outcome(msgspec.Struct, frozen=True):
    """The outcome of one event. `partition` and `offset` are its position in `documents.<tenant>`.

    `event` and `document` are the source's ids: redacted if they carry personal data, null if the record has none that could be read or
    stored. `time` is when the change happened, according to the source. `latency_s` is the time from `received_at`, the record's
    timestamp, to `decided_at`, in seconds.
    """

    event: str | None
    document: str | None
    operation: Literal["upsert", "delete"] | None
    sequence: int | None
    outcome: Literal["indexed", "unchanged", "superseded", "deleted", "unknown-document", "dead-lettered"]
    reason: str | None
    partition: int
    offset: int
    time: datetime | None
    received_at: datetime
    landed_at: datetime
    decided_at: datetime
    latency_s: float


class OutcomeProducer:
    """Publishes outcomes under their documents' keys, so that a document's outcomes stay in order. Not thread-safe."""

    def __init__(self, properties: Mapping[str, Any]) -> None:
        self._properties = properties
        self._errors = ClientErrors()
        self._producer: Producer | None = None

    def publish(self, tenant: str, outcomes: Sequence[tuple[bytes | None, Outcome]]) -> None:
        """Publish pairs of key and outcome, in this order. Returns when the broker has acknowledged all of them.

        Raises Unavailable or HeadraceError if it has not; it then has the first few outcomes of each key, or none.
        """
        failed: list[KafkaError] = []

        def collect(error: KafkaError | None, _: Message) -> None:
            if error:
                failed.append(error)

        topic = outcomes_of(tenant)
        with self._errors.translated("publishing outcomes"):
            producer = self._connected()
            for key, outcome in outcomes:
                producer.produce(topic, encode(outcome), key, on_delivery=collect)
        if self._unsent(producer) or failed:
            # a queued outcome must not be sent later, after newer ones
            producer.purge()
            self._producer = None
            raise self._errors.translate(failed[0] if failed else KafkaError(KafkaError._TIMED_OUT), "publishing outcomes")  # noqa: SLF001

    def _unsent(self, producer: Producer) -> int:
        until = monotonic() + REQUEST_S
        while (unsent := producer.flush(_POLL_S)) and not self._errors.refusal and monotonic() < until:
            pass
        return unsent

    def _connected(self) -> Producer:
        if self._producer is None:
            self._errors = ClientErrors()
            self._producer = Producer(self._errors.configuration(self._properties, **_PRODUCING))
        return self._producer


class Outcomes:
    """Reads a tenant's outcomes that are published after it is created: create it before publishing events. Not thread-safe.

    It joins no consumer group and commits no position. Raises TenantError if the tenant's name is not allowed, Unavailable if the broker
    does not answer, HeadraceError `kafka-refused` or `unknown-topic`.
    """

    def __init__(self, kafka_client_properties: Mapping[str, Any], tenant: str) -> None:
        topic = outcomes_of(tenant)
        self._errors = ClientErrors()
        with self._errors.translated("connecting"):
            configuration = self._errors.configuration(kafka_client_properties, **_CONSUMING, **{"group.id": f"publisher.{tenant}.wait"})
            self._consumer = Consumer(configuration)
        with self._errors.translated("listing outcomes"):
            self._consumer.assign([TopicPartition(topic, partition, end) for partition, end in self._ends(topic)])

    def __enter__(self) -> Outcomes:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._consumer.close()

    def wait_for(self, events: Iterable[str], timeout_s: float) -> dict[str, Outcome]:
        """Event id → outcome, without the events that are not decided within `timeout_s`. Raises as the class does.

        The outcome of an event whose id carries personal data has the redacted id, so it is never found here: wait for ids that carry none.
        """
        missing, found = set(events), dict[str, Outcome]()
        until = monotonic() + timeout_s
        while missing and (left := until - monotonic()) > 0:
            for outcome in self._next(min(left, _POLL_S)):
                if outcome.event in missing:
                    missing.discard(outcome.event)
                    found[outcome.event] = outcome
        return found

    def _next(self, timeout_s: float) -> Iterator[Outcome]:
        for message in self._consumer.consume(100, timeout_s):
            error = message.error()
            if error is None:
                yield from _decoded(message)
            elif not error.retriable():
                raise self._errors.translate(error, "reading outcomes")

    def _ends(self, topic: str) -> Iterator[tuple[int, int]]:
        found = self._consumer.list_topics(topic, timeout=REQUEST_S).topics[topic]
        if found.error:
            raise self._errors.translate(found.error, "listing outcomes")
        for partition in sorted(found.partitions):
            yield partition, self._end(TopicPartition(topic, partition))

    def _end(self, partition: TopicPartition) -> int:
        """The partition's high watermark. Waits for its leader to be elected: the topic may be new."""
        until = monotonic() + REQUEST_S
        while True:
            try:
                return int(self._consumer.get_watermark_offsets(partition, timeout=REQUEST_S)[1])
            except KafkaException as error:
                if error.args[0].code() not in ELECTING or monotonic() > until:
                    raise
                sleep(_ELECTION_S)


def _decoded(message: Message) -> Iterator[Outcome]:
    """The message's outcome; nothing if it is no outcome, or one of a later version whose result has a name unknown here."""
    try:
        outcome = decode(message.value() or b"", Outcome)
    except ValueError:
        _LOG.warning("%s[%s]@%s is no outcome that this version knows", message.topic(), message.partition(), message.offset())
    else:
        yield outcome
