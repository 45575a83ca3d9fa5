"""Where a batch ends that the client cannot read.

Publishers compress records in batches, and the broker stores a batch as it came: it looks neither at how large a compressed batch becomes
nor at whether its records have the lengths that they claim. Of such a batch, librdkafka

- reports an error at its first offset, if it becomes too large (a few thousand bytes may stand for a gigabyte) or does not decompress;
- hands over nothing and says nothing, if a record claims a wrong length. Kafka's own Java producer writes such a one for a header's name
  that is no Unicode text;
- or hands over records that are none, at offsets far behind.

It does not go on by itself, and does not say where the batch ends. But reading from a later offset tells whether that is behind it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from events.kafka.batches import Place
from events.kafka.client import REQUEST_S, ClientErrors
from events.kafka.messages import CONSUMING, GROUP, is_bad_batch

MOST_OFFSETS = 2**31
"""A batch has no more: it counts its offsets with 31 bits."""

SILENCE_S = 2.0
"""Seconds without a record, though the partition has some, after which the client is suspected of being unable to read them."""

_POLL_S = 0.02
_REPEATS = 3
"""Failures to parse the same fetch before the batch counts as malformed."""

_PROBING = {
    "group.id": GROUP,
    **CONSUMING,
    # one batch of each fetch: then the client never meets a batch that the broker has cut off, and what it cannot parse is malformed
    "fetch.message.max.bytes": 1,
    "fetch.error.backoff.ms": 10,
    "statistics.interval.ms": 20,
}


class Probe:
    """A consumer that reads from one offset, a batch at a time. Used once: one that reads elsewhere still parses what it fetched before.

    A context manager; its methods raise as `end_of` does.
    """

    def __init__(self, properties: Mapping[str, Any], place: Place) -> None:
        self._place = place
        self._errors = ClientErrors()
        self._unparsed = self._statistics = 0
        with self._errors.translated("looking at a batch"):
            self._consumer = Consumer(self._errors.configuration(properties, **_PROBING, stats_cb=self._observe))

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._consumer.close()

    def high_watermark(self) -> int:
        """The offset behind the partition's last record."""
        with self._errors.translated("looking at a batch"):
            return int(self._consumer.get_watermark_offsets(TopicPartition(*self._place), timeout=REQUEST_S)[1])

    def read(self, offset: int) -> tuple[int | None, int | None]:
        """The offset of what the client hands over first when it reads from here, and the first offset of the batch if it reports an error.

        The end of the partition counts as handed over. None and None: it can parse nothing, or hands over another record than the first.
        """
        with self._errors.translated("looking at a batch"):
            self._consumer.assign([TopicPartition(*self._place, offset)])
            until = monotonic() + REQUEST_S
            while monotonic() < until:
                message = self._consumer.poll(_POLL_S)
                if message is None or self._passes(message):
                    if self._unparsed >= _REPEATS:
                        return None, None
                    continue
                if is_bad_batch(message):
                    return None, message.offset()
                if message.offset() != offset and self._has_failed():
                    return None, None
                return message.offset(), None
        raise self._errors.translate(KafkaError(KafkaError._TIMED_OUT), "looking at a batch")  # noqa: SLF001 - confluent's public name

    def _passes(self, message: Message) -> bool:
        """Whether this is an error that a retry may change. Raises HeadraceError for one that no retry will."""
        error = message.error()
        if error is None or error.code() == KafkaError._PARTITION_EOF or is_bad_batch(message):  # noqa: SLF001
            return False
        if error.retriable():
            return True
        raise self._errors.translate(error, "looking at a batch")

    def _has_failed(self) -> bool:
        """Whether the client failed to parse the batch that the last message came from. Waits for the next statistics, which tell."""
        seen, until = self._statistics, monotonic() + REQUEST_S
        while self._statistics == seen and monotonic() < until:
            self._consumer.poll(_POLL_S)
        return self._unparsed > 0

    def _observe(self, statistics: str) -> None:
        self._statistics += 1
        self._unparsed = sum(broker["rxpartial"] for broker in json.loads(statistics)["brokers"].values())


@dataclass
class Search:
    """For the end of a batch: it does not end before `inside` + 1, nor behind `outside`. `probe` is the offset to try, None at the end.

    If the batch's `first` offset is known, the steps double until one is behind it, and then are halved; else each is of one offset,
    because one batch that cannot be read looks like another.
    """

    inside: int
    outside: int
    first: int | None = None
    step: int = 1

    @property
    def probe(self) -> int | None:
        middle = (self.inside + self.outside) // 2
        return min(self.inside + self.step, middle) if middle > self.inside else None

    def tell(self, found: int | None, first: int | None) -> None:
        """What `Probe.read` says of the offset `probe`."""
        probe = self.probe
        assert probe is not None
        if found is None and first == self.first:
            self.inside, self.step = probe, 1 if first is None else 2 * self.step
        else:
            behind = found if found is not None else first if first is not None else probe
            self.outside = max(self.inside + 1, min(behind, probe))


def doubtful(message: Message, position: int, *, with_gaps: bool) -> bool:
    """Whether the message may come of a batch that cannot be read: an error about one, or a record behind a gap.

    `with_gaps`: the partition is known to have gaps, of transactions or compaction.
    """
    return is_bad_batch(message) or (not with_gaps and message.error() is None and (message.offset() or 0) > position)


def suspected(message: Message | None, position: int) -> tuple[int, int | None]:
    """What `end_of` is asked about a doubtful message at this position, None for silence: `start`, and `first` if the client knows it."""
    first = message.offset() if message is not None and is_bad_batch(message) else None
    return max(first or 0, position), first


def why(message: Message | None) -> str:
    """In an error's words; "malformed" if the client reports none."""
    error = None if message is None else message.error()  # a message without a value is false
    return error.name() if error else "malformed"


def end_of(properties: Mapping[str, Any], place: Place, start: int, first: int | None = None) -> int:
    """The offset behind the batch that has the offset `start`, if it cannot be read; else `start`.

    `first` is the batch's first offset, if the client has reported an error. Takes a few requests, more for a batch of many records. Raises
    Unavailable if the broker does not answer, HeadraceError if it refuses.
    """
    with Probe(properties, place) as probe:
        search = Search(start - 1, max(start, min(probe.high_watermark(), start + MOST_OFFSETS)), first)
    while (at := search.probe) is not None:
        with Probe(properties, place) as probe:
            search.tell(*probe.read(at))
    return search.outside
