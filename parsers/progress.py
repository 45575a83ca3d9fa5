"""Pages that take seconds each: the reader says of each that it is read, and the document has its time anew.

A worker process passes that on to the pool, which bounds the whole (`parsers.workers.process`). Elsewhere nobody listens.
"""

from __future__ import annotations

from collections.abc import Callable

_listeners: list[Callable[[], None]] = []


def listen(listener: Callable[[], None]) -> None:
    """Call `listener` after each such page, in whatever thread read it, for the rest of this process's life."""
    _listeners[:] = [listener]


def page_read() -> None:
    """A page that takes seconds is read, and there was text on it: a page of nothing gives no time."""
    for listener in _listeners:
        listener()
