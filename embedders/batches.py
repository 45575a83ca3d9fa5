"""Texts into windows and windows into batches: how far to read ahead, which texts share a batch, how long one may wait for company."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from queue import Empty, SimpleQueue
from threading import Event, Semaphore, Thread
from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")

CHARACTERS_A_TOKEN = 4
"""Of English prose, roughly: windows are cut before they are tokenized."""


def plan(lengths: Sequence[int], budget: int, lanes: int = 1) -> list[list[int]]:
    """Indices by falling length, so many to a batch that the longest one times their number stays within `budget` tokens.

    Neighbours in length leave little to pad, and the long ones first let the lanes end together. Where there would be fewer batches than
    lanes, they are cut smaller, so that no lane stands idle. A text longer than the budget is a batch of its own.
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
    """Texts in order, in lists of about so many characters; a long one may be alone."""
    window: list[str] = []
    room = characters
    for text in texts:
        window.append(text)
        room -= len(text) + CHARACTERS_A_TOKEN
        if room <= 0:
            yield window
            window, room = [], characters
    if window:
        yield window


def arriving(texts: Iterable[str], characters: int, linger_s: float) -> Iterator[list[str]]:
    """As `windows`, of texts that come when they please: a window closes at the latest `linger_s` after its first text came."""
    with closing(Ahead(texts, depth=1 + characters // 64)) as ahead:
        for first in ahead:
            deadline, size = monotonic() + linger_s, len(first)
            window = [first]
            while size < characters and (more := ahead.within(deadline - monotonic())):
                window += more
                size += len(more[0]) + CHARACTERS_A_TOKEN
            yield window


class Ahead(Generic[T]):
    """Reads an iterator in a thread of its own, at most `depth` items ahead of whoever iterates over this.

    What the source raises is raised by iterating, after the items before it. Close it, and the source is read no further.
    """

    def __init__(self, source: Iterable[T], depth: int) -> None:
        self._items: SimpleQueue[tuple[list[T], BaseException | None]] = SimpleQueue()
        self._room, self._closed = Semaphore(depth), Event()
        self._ended = False
        self._error: BaseException | None = None
        Thread(target=self._read, args=(source,), name="embedder-ahead", daemon=True).start()

    def __iter__(self) -> Iterator[T]:
        while item := self.within(None):
            yield item[0]
        if self._error:
            raise self._error

    def within(self, seconds: float | None) -> list[T]:
        """The next item, alone in a list; an empty list at the end, be it an error, or where none comes in time."""
        if self._ended:
            return []
        try:
            item, self._error = self._items.get(timeout=None if seconds is None else max(0.0, seconds))
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
            for item in self._while_wanted(source):
                self._items.put(([item], None))
        except BaseException as error:  # noqa: BLE001 - a thread's boundary: it is raised where the items are read
            self._items.put(([], error))
        else:
            self._items.put(([], None))

    def _while_wanted(self, source: Iterable[T]) -> Iterator[T]:
        items = iter(source)
        while self._room.acquire() and not self._closed.is_set():
            item = list(islice(items, 1))
            if not item:
                return
            yield item[0]
