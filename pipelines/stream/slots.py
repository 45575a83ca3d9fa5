"""The registry of slots: which stream processes there are, on which hosts, when each was last seen, and which ones keep dying.

A slot is the place of one stream process. It is written by that process itself and read by everybody: `headrace status`, and the sensor
that keeps slots alive. No tenant's data is here, and nothing depends on it: Kafka's consumer group says who reads which partition.
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
from pipelines.app import Headrace
from pipelines.stream.observer import Beat, Listener

LOST_S = 15.0
"""A slot that was not seen for so many seconds is gone."""
STARTING_S = 300.0
"""One that was never seen may be loading its models for so long."""
REMEMBERED_S = 24 * 60 * 60.0
DYING_S, DYING = 600.0, 3
"""So many deaths within so many seconds are a slot that keeps dying."""


@dataclass(frozen=True)
class Slot:
    """A stream process as it was last seen. By Postgres' clock.

    `state`: `running`, `starting` (it loads its models), `lost` (it never left and is not seen any more), `left` (it was told to) or
    `failed` (`trouble` has the reason). `trouble` of one that runs: the stages and servers that it waits for. `deaths`: how often the slot
    died within the last ten minutes.
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
    in_hand: int
    deaths: int
    trouble: str | None

    @property
    def series(self) -> str:
        """What its deaths are counted by: its name, or its host where each process is its own slot, named by its number."""
        return self.host if self.slot == _name(self.host, self.pid) else self.slot


def enrol(headrace: Headrace, slot: str | None = None) -> str:
    """This process begins to stream in a slot: of that name, else `<host>-<pid>`. Gives the name. Raises Unavailable."""
    with headrace.database.control() as connection:
        connection.execute(_sql("forget"), {"remembered_s": REMEMBERED_S})
        connection.execute(_sql("enrol"), {**_whose(slot), "remembered_s": REMEMBERED_S})
    return slot or _name(socket.gethostname(), os.getpid())


def seen(headrace: Headrace, slot: str, beat: Beat) -> None:
    """This process is alive. Says nothing where another process has taken over the name. Raises Unavailable."""
    told = {
        "tenants": beat.tenants,
        "partitions": beat.partitions,
        "in_hand": sum(beat.waiting.values()),
        # what is waited for, not why: a reason is a sentence of some driver
        "trouble": ", ".join(sorted(beat.waits)) or None,
    }
    _write(headrace, "seen", slot, told)


def left(headrace: Headrace, slot: str, error: BaseException | None = None) -> None:
    """This process ends: as it was told to, or with an error, of which the reason code (or the type) is kept. Raises Unavailable."""
    reason = error.reason if isinstance(error, HeadraceError) else error and type(error).__name__
    _write(headrace, "left", slot, {"state": "failed" if error else "left", "trouble": reason})


class Registered(Listener):
    """A stream process in its slot: each sign of life is written down. Where Postgres is away, none is."""

    def __init__(self, headrace: Headrace, slot: str) -> None:
        self.slot = slot
        self._headrace = headrace

    def beat(self, beat: Beat) -> None:
        with suppress(Unavailable):
            seen(self._headrace, self.slot, beat)


@contextmanager
def taken(headrace: Headrace, slot: str | None = None) -> Iterator[Registered]:
    """This process streams in that slot until the block ends."""
    registered = Registered(headrace, slot or _name(socket.gethostname(), os.getpid()))
    with suppress(Unavailable):
        enrol(headrace, slot)
    error: BaseException | None = None
    try:
        yield registered
    except BaseException as raised:
        error = raised
        raise
    finally:
        with suppress(Unavailable):
            left(headrace, registered.slot, error)


def slots(headrace: Headrace) -> list[Slot]:
    """Every slot that was seen within a day, by name. Raises Unavailable."""
    with headrace.database.control() as connection:
        return [_slot(row) for row in connection.execute(_sql("slots")).fetchall() if row["silent_s"] < REMEMBERED_S]


def dying(found: Sequence[Slot]) -> dict[str, int]:
    """Deaths within the last ten minutes of each slot that keeps dying; streams without a name are counted by their host."""
    deaths: Counter[str] = Counter()
    for slot in found:
        deaths[slot.series] += slot.deaths
    return {series: count for series, count in sorted(deaths.items()) if count >= DYING}


def _slot(row: Mapping[str, Any]) -> Slot:
    state = _state(row)
    died = [row["now_s"] - at.timestamp() for at in row["deaths"]] + ([row["silent_s"]] if state in ("lost", "failed") else [])
    told = {name: row[name] for name in Slot.__dataclass_fields__ if name not in ("state", "deaths")}
    return Slot(**told, state=state, deaths=sum(ago_s <= DYING_S for ago_s in died))


def _state(row: Mapping[str, Any]) -> str:
    if row["state"] != "running" or row["silent_s"] <= LOST_S:
        return str(row["state"])
    return "starting" if row["seen_at"] == row["started_at"] and row["silent_s"] <= STARTING_S else "lost"


def _write(headrace: Headrace, name: str, slot: str, values: Mapping[str, Any]) -> None:
    with headrace.database.control() as connection:
        connection.execute(_sql(name), {**_whose(slot), **values})


def _whose(slot: str | None) -> dict[str, Any]:
    host, pid = socket.gethostname(), os.getpid()
    return {"slot": slot or _name(host, pid), "host": host, "pid": pid}


def _name(host: str, pid: int) -> str:
    return f"{host}-{pid}"


def _sql(name: str) -> Any:
    return statements("pipelines.stream", "sql/slots.sql")[name]
