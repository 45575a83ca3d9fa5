"""Outcomes on Kafka: what became of each event, written to `outcomes.<tenant>` and read there by source systems.

When an event's fate is decided stands in `core.outcomes`; docs/events.md explains the record to those who read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from time import monotonic
from types import TracebackType
from typing import Any, Literal

import msgspec
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from core.records import decode, encode
from events.kafka.client import REQUEST_S, Line
from events.kafka.reader import outcomes_of

_POLL_S = 0.2
_PRODUCING = {"acks": "all", "enable.idempotence": True, "compression.type": "zstd", "linger.ms": 5}
_CONSUMING = {"enable.auto.commit": False, "fetch.wait.max.ms": 100}


class Outcome(msgspec.Struct, frozen=True):
    """What became of one event. `partition` and `offset` are where it stands in `documents.<tenant>`.

    `event` and `document` are the ids that the source gave, redacted where they carry personal data, null where the record had none that
    could be read or kept. `time` is when the source says that the change happened; `latency_s` are the seconds from `received_at`, the
    record's own timestamp, to `decided_at`.
    """

    event: str | None
    document: str | None
    operation: Literal["upsert", "delete"] | None
    sequence: int | None
    outcome: Literal["indexed", "unchanged", "superseded", "deleted", "dead-lettered"]
    reason: str | None
    partition: int
    offset: int
    time: datetime | None
    received_at: datetime
    landed_at: datetime
    decided_at: datetime
    latency_s: float


class OutcomeProducer:
    """Writes outcomes, each under a key of its document's, so that a document's come in order. Not for two threads."""

    def __init__(self, properties: Mapping[str, Any]) -> None:
        self._properties = properties
        self._line = Line()
        self._producer: Producer | None = None

    def publish(self, tenant: str, outcomes: Sequence[tuple[bytes | None, Outcome]]) -> None:
        """All of these, in this order, with their keys. Returns when the broker has them.

        Raises Unavailable or HeadraceError where it has not all of them; of each key it then has the first few, or none.
        """
        failed: list[KafkaError] = []

        def note(error: KafkaError | None, _: Message) -> None:
            if error:
                failed.append(error)

        topic = outcomes_of(tenant)
        with self._line.translated("publishing outcomes"):
            producer = self._connected()
            for key, outcome in outcomes:
                producer.produce(topic, encode(outcome), key, on_delivery=note)
        if self._left(producer) or failed:
            # nothing that is left may go out later, behind what is published by then
            producer.purge()
            self._producer = None
            raise self._line.ours(failed[0] if failed else KafkaError(KafkaError._TIMED_OUT), "publishing outcomes")  # noqa: SLF001

    def _left(self, producer: Producer) -> int:
        until = monotonic() + REQUEST_S
        while (left := producer.flush(_POLL_S)) and not self._line.refusal and monotonic() < until:
            pass
        return left

    def _connected(self) -> Producer:
        if self._producer is None:
            self._line = Line()
            self._producer = Producer(self._line.configuration(self._properties, **_PRODUCING))
        return self._producer


class Outcomes:
    """What becomes of a tenant's events, from the moment this is made: make it before publishing. Not for two threads.

    It is in no consumer group and keeps no position. Raises TenantError for a name that is not allowed, Unavailable where the broker does
    not answer, HeadraceError `kafka-refused` or `unknown-topic`.
    """

    def __init__(self, kafka_client_properties: Mapping[str, Any], tenant: str) -> None:
        topic = outcomes_of(tenant)
        self._line = Line()
        with self._line.translated("connecting"):
            configuration = self._line.configuration(kafka_client_properties, **_CONSUMING, **{"group.id": f"publisher.{tenant}.wait"})
            self._consumer = Consumer(configuration)
        with self._line.translated("listing outcomes"):
            self._consumer.assign([TopicPartition(topic, partition, end) for partition, end in self._ends(topic)])

    def __enter__(self) -> Outcomes:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._consumer.close()

    def wait_for(self, events: Iterable[str], timeout_s: float) -> dict[str, Outcome]:
        """By event id, what became of these; those that are not decided after `timeout_s` are left out. Raises as the class does.

        An event whose id carries personal data is told of under its redacted id, and so never found here: wait for ids that carry none.
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
                yield decode(message.value() or b"", Outcome)
            elif not error.retriable():
                raise self._line.ours(error, "reading outcomes")

    def _ends(self, topic: str) -> Iterator[tuple[int, int]]:
        found = self._consumer.list_topics(topic, timeout=REQUEST_S).topics[topic]
        if found.error:
            raise self._line.ours(found.error, "listing outcomes")
        for partition in sorted(found.partitions):
            yield partition, self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=REQUEST_S)[1]
