"""How often a caller may ask: one token bucket for each credential, in this process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from time import monotonic

MOST_BUCKETS = 10_000
"""Callers that are remembered: those that asked last."""


class Rates:
    """Token buckets, of one second's requests each and of one at least. Thread-safe.

    In any time t, a caller is let in at most `max(1, rate) + rate · t` times, as long as it is remembered.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, name: str, rate: float) -> float:
        """Take a token; 0 if there is one, else the seconds until there will be, and nothing is taken. `rate`: tokens a second."""
        full = max(1.0, rate)
        with self._lock:
            now = self._clock()
            tokens, at = self._buckets.pop(name, (full, now))
            tokens = min(full, tokens + (now - at) * rate)
            wait_s = max(0.0, (1 - tokens) / rate)
            self._buckets[name] = (tokens if wait_s else tokens - 1, now)
            if len(self._buckets) > MOST_BUCKETS:
                self._buckets.popitem(last=False)
        return wait_s
