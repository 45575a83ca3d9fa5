"""The registry of slots: which stream processes there are, on which hosts, when each was last seen, and which ones keep crashing.

A slot is the place of one stream process. The process itself writes it; `headrace status` and the sensor that keeps slots alive read it.
It holds no tenant's data, and nothing depends on it: Kafka's consumer group decides who reads which partition.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.errors import HeadraceError, Unavailable
from core.sql import statements
from pipelines.resources import Resources
from pipelines.stream.observer import Heartbeat, Observer

LOST_S = 15.0
"""A slot that was not seen for this many seconds is lost."""
STARTING_S = 300.0
"""A slot that was never seen may be loading its models for this long."""
REMEMBERED_S = 24 * 60 * 60.0
CRASHING_S, CRASHING = 600.0, 3
"""A slot with this many crashes within this many seconds keeps crashing."""


@dataclass(frozen=True)
class Slot:
    """A stream process as it was last seen, by Postgres' clock.

    `state`: `running`, `starting` (loading its models), `lost` (it did not leave and is not seen any more), `left` (it was told to end)
    or `failed` (`trouble` has the reason). `trouble` of a running one: the stages and servers that it waits for. `in_flight`: documents in
    flight. `crashes`: how often the slot died within the last ten minutes.
    """

    slot: str
    host: str
    pid: int
    state: str
    started_at: datetime
    seen_at: datetime
    silent_s: float
    tenants: int
    partitions: int
    in_flight: int
    crashes: int
    trouble: str | None

    @property
    def series(self) -> str:
        """The key under which crashes are added up: the slot's name, or the host if the slot is named after its process."""
        return self.host if self.slot == _name(self.host, self.pid) else self.slot


def enrol(resources: Resources, slot: str | None = None) -> str:
    """Register this process as streaming in the slot of that name, else `<host>-<pid>`. Returns the name. Raises Unavailable."""
    with resources.database.control() as connection:
        connection.execute(_SQL["forget"], {"remembered_s": REMEMBERED_S})
        connection.execute(_SQL["enrol"], {**_identity(slot), "remembered_s": REMEMBERED_S})
    return slot or _name(socket.gethostname(), os.getpid())


def record_heartbeat(resources: Resources, slot: str, beat: Heartbeat) -> None:
    """This process is alive. Writes nothing if another process has taken over the name. Raises Unavailable."""
    values = {
        "tenants": beat.tenants,
        "partitions": beat.partitions,
        "in_flight": sum(beat.waiting.values()),
        # the names alone: a reason may quote a driver's message
        "trouble": ", ".join(sorted(beat.waits)) or None,
    }
    _write(resources, "seen", slot, values)


def leave(resources: Resources, slot: str, error: BaseException | None = None) -> None:
    """This process ends: it was told to, or by an error, whose reason code (or type) is stored. Raises Unavailable."""
    reason = error.reason if isinstance(error, HeadraceError) else error and type(error).__name__
    _write(resources, "left", slot, {"state": "failed" if error else "left", "trouble": reason})


class Occupant(Observer):
    """A stream process in its slot: each heartbeat is written down, unless Postgres is unavailable."""

    def __init__(self, resources: Resources, slot: str) -> None:
        self.slot = slot
        self._resources = resources

    def heartbeat(self, beat: Heartbeat) -> None:
        with suppress(Unavailable):
            record_heartbeat(self._resources, self.slot, beat)


@contextmanager
def occupied(resources: Resources, slot: str | None = None) -> Iterator[Occupant]:
    """This process streams in that slot until the block ends."""
    occupant = Occupant(resources, slot or _name(socket.gethostname(), os.getpid()))
    with suppress(Unavailable):
        enrol(resources, slot)
    error: BaseException | None = None
    try:
        yield occupant
    except BaseException as raised:
        error = raised
        raise
    finally:
        with suppress(Unavailable):
            leave(resources, occupant.slot, error)


def slots(resources: Resources) -> list[Slot]:
    """Every slot that was seen within a day, by name. Raises Unavailable."""
    with resources.database.control() as connection:
        return [_slot(row) for row in connection.execute(_SQL["slots"]).fetchall() if row["silent_s"] < REMEMBERED_S]


def crashing(found: Sequence[Slot]) -> dict[str, int]:
    """Crashes within the last ten minutes, by `Slot.series`, of those that keep crashing."""
    crashes: Counter[str] = Counter()
    for slot in found:
        crashes[slot.series] += slot.crashes
    return {series: count for series, count in sorted(crashes.items()) if count >= CRASHING}


def _slot(row: Mapping[str, Any]) -> Slot:
    state = _state(row)
    died = [row["now_s"] - at.timestamp() for at in row["crashes"]] + ([row["silent_s"]] if state in ("lost", "failed") else [])
    columns = {name: row[name] for name in Slot.__dataclass_fields__ if name not in ("state", "crashes")}
    return Slot(**columns, state=state, crashes=sum(ago_s <= CRASHING_S for ago_s in died))


def _state(row: Mapping[str, Any]) -> str:
    if row["state"] != "running" or row["silent_s"] <= LOST_S:
        return str(row["state"])
    return "starting" if row["seen_at"] == row["started_at"] and row["silent_s"] <= STARTING_S else "lost"


def _write(resources: Resources, name: str, slot: str, values: Mapping[str, Any]) -> None:
    with resources.database.control() as connection:
        connection.execute(_SQL[name], {**_identity(slot), **values})


def _identity(slot: str | None) -> dict[str, Any]:
    host, pid = socket.gethostname(), os.getpid()
    return {"slot": slot or _name(host, pid), "host": host, "pid": pid}


def _name(host: str, pid: int) -> str:
    return f"{host}-{pid}"


_SQL = statements("pipelines.stream", "sql/slots.sql")
