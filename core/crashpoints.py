"""Crash points: where a test can make a process die, such as before and after each commit.

For the tests of what a crash leaves behind. Nothing here is armed unless a test, or `benchmarks.chaos`, arms it in its own process;
until then reaching a point costs looking at an empty dictionary.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Lock
from typing import TypeVar

Opened = TypeVar("Opened")

_declared: set[str] = set()
_armed: dict[str, int] = {}
_signals: dict[str, signal.Signals] = {}
_counting = Lock()


def declare(*points: str) -> tuple[str, ...]:
    """Register these points, so that a misspelt one cannot be armed. Returns them."""
    _declared.update(points)
    return points


def commit_points(*names: str) -> tuple[str, ...]:
    """The points `<name>:before-commit` and `<name>:after-commit` of these transactions (`around`), declared."""
    return declare(*(f"{name}:{side}" for name in names for side in ("before-commit", "after-commit")))


def arm(point: str, nth: int = 1, by: signal.Signals = signal.SIGKILL) -> None:
    """Make this process kill itself (SIGKILL: nothing is cleaned up) when `point` is reached for the nth time from now.

    SIGSTOP leaves it there, with its locks and connections, until it gets SIGCONT.
    Raises ValueError if no module that was imported has declared the point, or nth is below 1.
    """
    if point not in _declared or nth < 1:
        raise ValueError(f"no such crash point, or nth is below 1: {point!r}, {nth}")
    with _counting:
        _armed[point], _signals[point] = nth, by


def disarm() -> dict[str, int]:
    """Disarm every point. Returns how many times each had still to be reached."""
    with _counting:
        left = dict(_armed)
        _armed.clear()
    return left


def reached(point: str) -> None:
    """Count one arrival at this point. Does nothing unless it is armed."""
    if _armed:
        _count_down(point)


@contextmanager
def around(name: str, transaction: AbstractContextManager[Opened]) -> Iterator[Opened]:
    """The transaction, with a point right before its commit and one right after. A transaction that fails reaches neither."""
    with transaction as opened:
        yield opened
        reached(f"{name}:before-commit")
    reached(f"{name}:after-commit")


def _count_down(point: str) -> None:
    with _counting:
        if point in _armed:
            _armed[point] -= 1
            if _armed[point] == 0:
                # to this thread: another one may handle it when this one is past the commit
                signal.raise_signal(_signals[point])
