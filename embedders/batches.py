"""Texts → windows → batches: how far to read ahead, which texts share a batch, how long a text may wait for others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from queue import Empty, SimpleQueue
from threading import Event, Semaphore, Thread
from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")

CHARACTERS_PER_TOKEN = 4
"""Roughly, for English prose. Windows are cut before their texts are tokenized."""


def plan(lengths: Sequence[int], budget: int, lanes: int = 1) -> list[list[int]]:
    """Group indices into batches by descending length: the number of texts times the longest stays within `budget` tokens.

    Texts of similar length need little padding, and long ones first let the lanes finish together. If there were fewer batches than
    lanes, batches are smaller, so that no lane is idle. A text longer than the budget is a batch of its own.
    """
    if len(lengths) > 1:
        budget = min(budget, max(1, -(-sum(lengths) // lanes)))
    order = sorted(range(len(lengths)), key=lambda at: -lengths[at])
    batches, start = [], 0
    while start < len(order):
        size = max(1, budget // max(1, lengths[order[start]]))
        batches.append(order[start : start + size])
        start += size
    return batches


def windows(texts: Iterable[str], characters: int) -> Iterator[list[str]]:
    """Split texts, in order, into lists of about `characters` characters. A long text may be a window of its own."""
    window: list[str] = []
    room = characters
    for text in texts:
        window.append(text)
        room -= len(text) + CHARACTERS_PER_TOKEN
        if room <= 0:
            yield window
            window, room = [], characters
    if window:
        yield window


def timed_windows(texts: Iterable[str], characters: int, linger_s: float) -> Iterator[list[str]]:
    """As `windows`, for texts that arrive over time: a window closes at the latest `linger_s` after its first text arrived."""
    with closing(Prefetcher(texts, depth=1 + characters // 64)) as incoming:
        for first in incoming:
            deadline, size = monotonic() + linger_s, len(first)
            window = [first]
            while size < characters and (more := incoming.get(deadline - monotonic())):
                window += more
                size += len(more[0]) + CHARACTERS_PER_TOKEN
            yield window


class Prefetcher(Generic[T]):
    """Reads an iterator in a background thread, at most `depth` items ahead of the consumer.

    An exception of the source is raised to the consumer after the items before it. `close` stops reading the source.
    """

    def __init__(self, source: Iterable[T], depth: int) -> None:
        self._items: SimpleQueue[tuple[list[T], BaseException | None]] = SimpleQueue()
        self._room, self._closed = Semaphore(depth), Event()
        self._ended = False
        self._error: BaseException | None = None
        Thread(target=self._read, args=(source,), name="embedder-prefetch", daemon=True).start()

    def __iter__(self) -> Iterator[T]:
        while item := self.get(None):
            yield item[0]
        if self._error:
            raise self._error

    def get(self, timeout_s: float | None) -> list[T]:
        """Return the next item in a list, or an empty list at the end, after an error, or if none arrives within `timeout_s`."""
        if self._ended:
            return []
        try:
            item, self._error = self._items.get(timeout=None if timeout_s is None else max(0.0, timeout_s))
        except Empty:
            return []
        self._room.release()
        self._ended = not item
        return item

    def close(self) -> None:
        self._closed.set()
        self._room.release()

    def _read(self, source: Iterable[T]) -> None:
        try:
            for item in self._read_ahead(source):
                self._items.put(([item], None))
        except BaseException as error:  # noqa: BLE001 - a thread's boundary: the consumer raises it
            self._items.put(([], error))
        else:
            self._items.put(([], None))

    def _read_ahead(self, source: Iterable[T]) -> Iterator[T]:
        items = iter(source)
        while self._room.acquire() and not self._closed.is_set():
            item = list(islice(items, 1))
            if not item:
                return
            yield item[0]
