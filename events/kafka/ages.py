"""When unread events were published: looks at the first unread record of many partitions at once. It lands and commits nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from time import monotonic, time
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from events.kafka.batches import Place
from events.kafka.client import REQUEST_S, ClientErrors
from events.kafka.messages import CONSUMING, GROUP, place_of

_POLL_S = 0.2
_PEEKING = {
    # required, but the consumer joins no group: it assigns its partitions itself
    "group.id": GROUP,
    **CONSUMING,
    # records removed by retention have no age to look at; the first remaining one has
    "auto.offset.reset": "earliest",
    # one record of each partition is looked at
    "fetch.message.max.bytes": 64 * 1024,
}


def published_at(properties: Mapping[str, Any], positions: Mapping[Place, int], limit_s: float = REQUEST_S) -> dict[Place, datetime]:
    """When the first record at or after each position was published, by its timestamp in Kafka, never later than now.

    Leaves out partitions without such a record, and those whose broker returns none within `limit_s`. Raises HeadraceError if Kafka
    refuses.
    """
    if not positions:
        return {}
    errors = ClientErrors()
    with errors.translated("looking at first records"):
        consumer = Consumer(errors.configuration(properties, **_PEEKING))
        try:
            consumer.assign([TopicPartition(*place, at) for place, at in positions.items()])
            return dict(_first_times(consumer, positions.keys(), monotonic() + limit_s))
        finally:
            consumer.close()


def _first_times(consumer: Consumer, places: Collection[Place], until: float) -> Iterator[tuple[Place, datetime]]:
    waiting = set(places)
    while waiting and monotonic() < until:
        answered = set()
        for message in _consumed(consumer, len(waiting)):
            place = place_of(message)
            if place in waiting and _is_answer(message):
                answered.add(place)
                waiting.discard(place)
                if message.error() is None:
                    yield place, _time_of(message)
        consumer.pause([TopicPartition(*place) for place in answered])


def _consumed(consumer: Consumer, limit: int) -> list[Message]:
    first = consumer.poll(_POLL_S)
    return [] if first is None else [first, *consumer.consume(limit, 0)]


def _is_answer(message: Message) -> bool:
    """Whether this is a record, the end of the partition, or an error that no retry will change."""
    error = message.error()
    return error is None or error.code() == KafkaError._PARTITION_EOF or not error.retriable()  # noqa: SLF001


def _time_of(message: Message) -> datetime:
    """Bounded to the years from 1970 to now: producers may write any 64 bits as a timestamp."""
    return datetime.fromtimestamp(max(0.0, min(message.timestamp()[1] / 1000, time())), UTC)
