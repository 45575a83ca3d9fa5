"""What every consumer of records shares: its configuration, and librdkafka's messages as records.

A publisher may write any bytes into every part of a record, and the broker stores them. What the client cannot hand over of a record, or of
a whole batch, arrives as a `KafkaRecord` that says so, and `events.contract` rejects it.
"""

from __future__ import annotations

from operator import methodcaller
from time import time
from typing import Any

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, Message

from events.contract import UNREADABLE_BATCH, UNREADABLE_RECORD, KafkaRecord
from events.kafka.batches import Place

GROUP = "headrace"
"""The consumer group whose committed offsets lag tools read. Headrace itself reads none of them."""

CONSUMING = {
    "enable.auto.commit": False,
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    # librdkafka's default of 1 s is a stall between two batches whenever its queue was full
    "fetch.queue.backoff.ms": 10,
    # a new assignment waits for the fetch in flight, and one that finds nothing lasts this long; 500 by default
    "fetch.wait.max.ms": 100,
}

_BAD_BATCH = frozenset(
    {
        # it does not decompress, or only to more than `receive.message.max.bytes`: a few thousand bytes can
        KafkaError._BAD_COMPRESSION,  # noqa: SLF001 - confluent's public names for local errors begin with an underscore
        KafkaError._BAD_MSG,  # noqa: SLF001
        KafkaError._NOT_IMPLEMENTED,  # noqa: SLF001 - a compression that this build of librdkafka does not have
        KafkaError.MSG_SIZE_TOO_LARGE,
    }
)

# not `message.headers()`: for a name that is not UTF-8, the client returns a list with holes and leaves the exception pending, and Python's
# fast path for method calls goes on until the exception surfaces somewhere else. A call from C checks its result
_headers: Any = methodcaller("headers")


def place_of(message: Message) -> Place:
    return str(message.topic()), int(message.partition() or 0)


def is_bad_batch(message: Message) -> bool:
    """Whether this is an error about a stored batch. Its offset is the batch's first, and the client does not go on."""
    error, offset = message.error(), message.offset()
    return error is not None and error.code() in _BAD_BATCH and offset is not None and offset >= 0


def record_of(message: Message) -> KafkaRecord:
    """The record; if its headers cannot be handed over, without them."""
    kind, timestamp_ms = message.timestamp()
    unreadable = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    try:
        headers = tuple(_headers(message) or ())  # called once: a second call returns the list with holes
    except (SystemError, ValueError):
        unreadable = UNREADABLE_RECORD, "headers: a name that is not UTF-8"
    appended = kind == TIMESTAMP_LOG_APPEND_TIME
    place, offset = place_of(message), message.offset() or 0
    return KafkaRecord(*place, offset, timestamp_ms, message.key(), message.value(), headers, appended, unreadable)


def record_of_batch(place: Place, start: int, end: int, why: str) -> KafkaRecord:
    """What stands for a batch that cannot be handed over: a record at the first of its offsets, which are `start` to `end - 1`."""
    detail = f"offsets {start} to {end - 1}: the client cannot read this batch ({why})"
    return KafkaRecord(*place, start, int(time() * 1000), None, None, unreadable=(UNREADABLE_BATCH, detail))
