"""Progress reports for pages that take seconds each (text recognition, models): each report restarts the document's timeout.

A worker process forwards reports to the pool, which bounds the total time (`parsers.workers.process`). Without an observer a report does
nothing.
"""

from __future__ import annotations

from collections.abc import Callable

_observers: list[Callable[[], None]] = []


def observe(observer: Callable[[], None]) -> None:
    """Call `observer` after each reported page, in the thread that read the page, until the process ends."""
    _observers[:] = [observer]


def page_read() -> None:
    """Report a page that was slow to read and has text. An empty page is not reported, so it does not extend the timeout."""
    for observer in _observers:
        observer()
