"""How long unread events have waited: one look at the first record of many partitions at once. Nothing is kept, landed or committed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from time import monotonic, time
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from events.kafka.batches import Place
from events.kafka.client import REQUEST_S, Line
from events.kafka.reader import CONSUMING, GROUP, place_of

_POLL_S = 0.2
_PEEKING = {
    # a member of no group: it assigns its partitions itself
    "group.id": GROUP,
    **CONSUMING,
    # what retention took away cannot be asked its age; the first that is left can
    "auto.offset.reset": "earliest",
    # of each partition one record is looked at
    "fetch.message.max.bytes": 64 * 1024,
}


def published_at(properties: Mapping[str, Any], positions: Mapping[Place, int], limit_s: float = REQUEST_S) -> dict[Place, datetime]:
    """When the first record at or after each position was published, by its timestamp in Kafka, never later than now.

    A partition that has none there, or whose broker gives none in time, is left out. Raises HeadraceError where Kafka refuses.
    """
    if not positions:
        return {}
    line = Line()
    with line.translated("looking at first records"):
        consumer = Consumer(line.configuration(properties, **_PEEKING))
        try:
            consumer.assign([TopicPartition(*place, at) for place, at in positions.items()])
            return dict(_firsts(consumer, positions.keys(), monotonic() + limit_s))
        finally:
            consumer.close()


def _firsts(consumer: Consumer, places: Collection[Place], until: float) -> Iterator[tuple[Place, datetime]]:
    waiting = set(places)
    while waiting and monotonic() < until:
        seen = set()
        for message in _gathered(consumer, len(waiting)):
            place = place_of(message)
            if place in waiting and _says(message):
                seen.add(place)
                waiting.discard(place)
                if message.error() is None:
                    yield place, _time_of(message)
        consumer.pause([TopicPartition(*place) for place in seen])


def _gathered(consumer: Consumer, most: int) -> list[Message]:
    first = consumer.poll(_POLL_S)
    return [] if first is None else [first, *consumer.consume(most, 0)]


def _says(message: Message) -> bool:
    """Whether this is an answer: a record, that there is none, or that there will never be one."""
    error = message.error()
    return error is None or error.code() == KafkaError._PARTITION_EOF or not error.retriable()  # noqa: SLF001


def _time_of(message: Message) -> datetime:
    """Producers may write any 64 bits as a timestamp."""
    return datetime.fromtimestamp(max(0.0, min(message.timestamp()[1] / 1000, time())), UTC)
