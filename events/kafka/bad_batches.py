"""Where a batch ends that the client cannot hand over.

Publishers compress records in batches, and the broker stores a batch as it came. librdkafka cannot decompress every batch that the
broker takes: a few thousand bytes may stand for a gigabyte. It then reports an error at the batch's first offset, does not go on, and
does not say where the batch ends. But reading from a later offset tells whether the batch has that offset too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from events.kafka.batches import Place
from events.kafka.client import REQUEST_S, ClientErrors
from events.kafka.messages import CONSUMING, GROUP, is_bad_batch

MOST_OFFSETS = 2**31
"""A batch has no more: it counts its offsets with 31 bits."""

_POLL_S = 0.2
# it joins no group, and has one partition: what it reads ahead would be thrown away
_PROBING = {"group.id": GROUP, **CONSUMING, "fetch.message.max.bytes": 1024, "fetch.error.backoff.ms": 10}


@dataclass
class Search:
    """For the end of the batch whose first offset is `first`, with steps that double until one is behind it, and then are halved.

    The batch does not end before `inside` + 1, nor behind `outside`. `probe` is the offset to try next, None once the two agree.
    """

    first: int
    inside: int
    outside: int
    step: int = 1

    @property
    def probe(self) -> int | None:
        middle = (self.inside + self.outside) // 2
        return min(self.inside + self.step, middle) if middle > self.inside else None

    def tell(self, batch: int) -> None:
        """The first offset of the batch with the offset `probe`; `probe` itself if that is not known."""
        probe = self.probe
        assert probe is not None
        if batch == self.first:
            self.inside, self.step = probe, 2 * self.step
        else:
            self.outside = max(self.inside + 1, min(batch, probe))


def end_of(properties: Mapping[str, Any], place: Place, start: int, first: int) -> int:
    """The offset behind the batch whose first offset is `first`; `start` if that can be read after all.

    Takes a few requests, more for a batch of many records. Raises Unavailable if the broker does not answer, HeadraceError if it refuses.
    """
    errors = ClientErrors()
    with errors.translated("looking for the end of a batch"):
        consumer = Consumer(errors.configuration(properties, **_PROBING))
        try:
            _, high = consumer.get_watermark_offsets(TopicPartition(*place), timeout=REQUEST_S)
            search = Search(first, start - 1, max(start, min(high, start + MOST_OFFSETS)))
            while (probe := search.probe) is not None:
                consumer.assign([TopicPartition(*place, probe)])
                answer = _answer(consumer, errors)
                search.tell((answer.offset() or 0) if is_bad_batch(answer) else probe)
        finally:
            consumer.close()
    return search.outside


def _answer(consumer: Consumer, errors: ClientErrors) -> Message:
    """The first message from where the consumer was assigned. An end of the partition is one, and an error that no retry will change."""
    until = monotonic() + REQUEST_S
    while monotonic() < until:
        message = consumer.poll(_POLL_S)
        error = message.error() if message else None
        if message is None or (error is not None and error.retriable()):
            continue
        if error is None or error.code() == KafkaError._PARTITION_EOF or is_bad_batch(message):  # noqa: SLF001 - confluent's public name
            return message
        raise errors.translate(error, "looking for the end of a batch")
    raise errors.translate(KafkaError(KafkaError._TIMED_OUT), "looking for the end of a batch")  # noqa: SLF001
