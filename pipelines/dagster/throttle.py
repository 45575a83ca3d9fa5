"""When to tell what: many small parts become few large ones, none is lost. No clock of its own: the caller says what time it is."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

Key = TypeVar("Key")
Part = TypeVar("Part")


class Pace(Generic[Key, Part]):
    """Parts by key, merged until their turn comes.

    A key has a turn at most once in `every_s` seconds; all keys together `per_s` times a second on average, and `burst` at once after a
    quiet time. The part that has waited longest comes first, so that each key's turn comes however many others there are.
    Thread-safe. Times are seconds of any one clock that does not go back.
    """

    def __init__(self, merge: Callable[[Part, Part], Part], every_s: float, per_s: float, burst: int) -> None:
        self._merge, self._every_s, self._per_s, self._burst = merge, every_s, per_s, burst
        self._waiting: dict[Key, Part] = {}
        self._told: dict[Key, float] = {}
        self._turns = float(burst)
        self._at: float | None = None
        self._lock = Lock()

    def add(self, key: Key, part: Part) -> None:
        """One more part, after those that wait already."""
        with self._lock:
            self._waiting[key] = self._merge(self._waiting[key], part) if key in self._waiting else part

    def put_back(self, key: Key, part: Part) -> None:
        """A part that was taken and could not be told: before those that came meanwhile."""
        with self._lock:
            self._waiting[key] = self._merge(part, self._waiting[key]) if key in self._waiting else part

    def due(self, now: float) -> list[tuple[Key, Part]]:
        """Take those whose turn it is."""
        with self._lock:
            self._refill(now)
            keys = [key for key in self._waiting if key not in self._told][: int(self._turns)]
            self._turns -= len(keys)
            self._told.update(dict.fromkeys(keys, now))
            return [(key, self._waiting.pop(key)) for key in keys]

    def rest(self) -> list[tuple[Key, Part]]:
        """Take all that is left, whoever's turn it is."""
        with self._lock:
            rest, self._waiting = list(self._waiting.items()), {}
            return rest

    def _refill(self, now: float) -> None:
        since = now if self._at is None else self._at
        self._turns, self._at = min(self._burst, self._turns + (now - since) * self._per_s), now
        self._told = {key: at for key, at in self._told.items() if now - at < self._every_s}
