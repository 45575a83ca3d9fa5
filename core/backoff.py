"""How long to wait before the next attempt. What is attempted, and when to give up, is the caller's."""

from __future__ import annotations

from random import uniform


def backoff_s(attempt: int, first_s: float, longest_s: float, factor: float = 2.0) -> float:
    """Seconds to wait after `attempt` failures (from 1): `first_s`, then `factor` times as long each time, up to `longest_s`."""
    return min(first_s * factor ** min(attempt - 1, 60), longest_s)


def jittered(seconds: float) -> float:
    """Equal jitter: half to all of `seconds` (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).

    Clients that failed together are not retried together. Equal and not full jitter, though full jitter costs a server least: attempts
    are few here, and a short draw would spend one of them on a server that had no time to come back.
    """
    return uniform(seconds / 2, seconds)  # noqa: S311 - nobody gains from guessing it
