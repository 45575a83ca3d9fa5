"""The process that executes a run: while it lives it is present in Postgres (`core.presence`), and the run's tag says under which key.

So a sensor, on whichever host, can tell a run whose process is gone from one that is slow, stopped, or waits for a server. Dagster's own
launcher cannot: it asks the code server that started the process, and that one may have died with it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from core.tenancy import Database

PROCESS = "headrace/process"
"""The run tag with the run's id and the key of its process: a run that executes another one again may have that one's tags."""

EVERY_S = 5.0
"""Seconds between presence checks. A presence that a restart of Postgres or a network failure ended is opened again."""

_log = logging.getLogger(__name__)


@contextmanager
def present(database: Database, instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Register this process in Postgres as the run's until the block ends. An unavailable Postgres or Dagster storage is retried."""
    over = Event()
    tagged = _keep(database, instance, run_id, tagged=False)
    thread = Thread(target=_keep_until, args=(over, database, instance, run_id, tagged), name="presence", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def key_of(run: dg.DagsterRun) -> int | None:
    """The key of the process that executes or executed this run; None if none has come so far."""
    run_id, _, key = run.tags.get(PROCESS, "").partition(":")
    return int(key) if run_id == run.run_id and key.isdecimal() else None


def _keep_until(over: Event, database: Database, instance: dg.DagsterInstance, run_id: str, tagged: bool) -> None:
    while not over.wait(EVERY_S):
        tagged = _keep(database, instance, run_id, tagged=tagged)


def _keep(database: Database, instance: dg.DagsterInstance, run_id: str, *, tagged: bool) -> bool:
    """Hold the presence, and tag the run if it has no tag yet. Returns whether it is tagged."""
    try:
        key = database.presence()
        if not tagged:
            instance.add_run_tags(run_id, {PROCESS: f"{run_id}:{key}"})
    except Exception as error:  # noqa: BLE001 - Dagster's records raise whatever their driver does; the next time comes soon
        _log.warning("this run's process cannot be shown to be alive now: %s", type(error).__name__)
        return tagged
    return True
