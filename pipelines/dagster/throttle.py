"""Throttling: many small parts become few large ones, and none is lost. No clock of its own: the caller passes the time."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

Key = TypeVar("Key")
Part = TypeVar("Part")


class Throttle(Generic[Key, Part]):
    """Parts by key, merged until they are due.

    A key is due at most once in `every_s` seconds; all keys together `per_s` times a second on average, and `burst` at once after a
    quiet time (a token bucket). The part that has waited longest comes first, so no key starves.
    Thread-safe. Times are seconds of one monotonic clock.
    """

    def __init__(self, merge: Callable[[Part, Part], Part], every_s: float, per_s: float, burst: int) -> None:
        self._merge, self._every_s, self._per_s, self._burst = merge, every_s, per_s, burst
        self._waiting: dict[Key, Part] = {}
        self._emitted: dict[Key, float] = {}
        self._tokens = float(burst)
        self._at: float | None = None
        self._lock = Lock()

    def add(self, key: Key, part: Part) -> None:
        """One more part, after those that wait already."""
        with self._lock:
            self._waiting[key] = self._merge(self._waiting[key], part) if key in self._waiting else part

    def put_back(self, key: Key, part: Part) -> None:
        """Return a part that could not be emitted: before those that were added meanwhile."""
        with self._lock:
            self._waiting[key] = self._merge(part, self._waiting[key]) if key in self._waiting else part

    def due(self, now: float) -> list[tuple[Key, Part]]:
        """Take the parts that are due."""
        with self._lock:
            self._refill(now)
            keys = [key for key in self._waiting if key not in self._emitted][: int(self._tokens)]
            self._tokens -= len(keys)
            self._emitted.update(dict.fromkeys(keys, now))
            return [(key, self._waiting.pop(key)) for key in keys]

    def rest(self) -> list[tuple[Key, Part]]:
        """Take all that is left, due or not."""
        with self._lock:
            rest, self._waiting = list(self._waiting.items()), {}
            return rest

    def _refill(self, now: float) -> None:
        since = now if self._at is None else self._at
        self._tokens, self._at = min(self._burst, self._tokens + (now - since) * self._per_s), now
        self._emitted = {key: at for key, at in self._emitted.items() if now - at < self._every_s}
