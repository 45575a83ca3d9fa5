"""Slots: who streams where, who died, and who keeps crashing. By Postgres' clock; what passes in between is written into the rows."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import pytest

from core.errors import HeadraceError, Unavailable
from pipelines.app import Headrace
from pipelines.stream import slots
from pipelines.stream.observer import Heartbeat

_numbers = itertools.count(1)


def beat(tenants: int = 3, waiting: Mapping[str, int] = MappingProxyType({}), waits: Mapping[str, str] = MappingProxyType({})) -> Heartbeat:
    """A heartbeat of a process that may be anything."""
    return Heartbeat("", tenants, 9, waiting, {}, waits)


@pytest.fixture
def name() -> str:
    return f"slot-{next(_numbers)}-{os.getpid()}"


@pytest.fixture(autouse=True)
def nobody(app: Headrace) -> Iterator[None]:
    """No slot before, none after."""
    execute(app, "DELETE FROM headrace.slot")
    yield
    execute(app, "DELETE FROM headrace.slot")


def execute(app: Headrace, query: str, **values: object) -> None:
    with app.database.control() as connection:
        connection.execute(query, values)


def pass_by(app: Headrace, seconds: float) -> None:
    """As if all that was written had been written earlier."""
    execute(
        app,
        "UPDATE headrace.slot SET seen_at = seen_at - p, started_at = started_at - p, crashes = ARRAY(SELECT d - p FROM unnest(crashes) d)"
        " FROM make_interval(secs => %(seconds)s) AS p",
        seconds=seconds,
    )


def one(app: Headrace, name: str) -> slots.Slot:
    (found,) = [slot for slot in slots.slots(app) if slot.slot == name]
    return found


def test_a_slot_is_seen_with_what_it_does(app: Headrace, name: str) -> None:
    assert slots.enrol(app, name) == name
    slots.record_heartbeat(
        app, name, beat(waiting={"acme": 3, "globex": 4}, waits={"project": "Neo4j: ServiceUnavailable", "embed": "503"})
    )
    found = one(app, name)
    assert (found.state, found.tenants, found.partitions, found.in_flight, found.trouble) == ("running", 3, 9, 7, "embed, project")
    assert (found.host, found.pid) == (socket.gethostname(), os.getpid())
    slots.record_heartbeat(app, name, beat())
    assert one(app, name).trouble is None


def test_a_slot_without_a_name_is_called_by_its_host_and_process(app: Headrace) -> None:
    assert slots.enrol(app) == f"{socket.gethostname()}-{os.getpid()}"
    assert one(app, slots.enrol(app)).series == socket.gethostname()


def test_a_slot_that_is_not_seen_is_lost_and_one_that_leaves_is_not(app: Headrace, name: str) -> None:
    slots.enrol(app, name)
    slots.record_heartbeat(app, name, beat())
    pass_by(app, slots.LOST_S - 1)
    assert one(app, name).state == "running"
    pass_by(app, 2)
    assert (one(app, name).state, one(app, name).crashes) == ("lost", 1)
    slots.record_heartbeat(app, name, beat())
    assert (one(app, name).state, one(app, name).crashes) == ("running", 0)
    slots.leave(app, name)
    pass_by(app, 2 * slots.LOST_S)
    assert (one(app, name).state, one(app, name).crashes) == ("left", 0)


def test_a_slot_that_was_never_seen_is_starting_and_then_lost(app: Headrace, name: str) -> None:
    slots.enrol(app, name)
    pass_by(app, slots.LOST_S + 1)
    assert (one(app, name).state, one(app, name).crashes) == ("starting", 0)
    pass_by(app, slots.STARTING_S)
    assert (one(app, name).state, one(app, name).crashes) == ("lost", 1)


def test_a_slot_is_taken_while_its_process_streams_and_left_after_that(app: Headrace, name: str) -> None:
    with slots.occupied(app, name) as place:
        place.heartbeat(beat(tenants=5))
        assert (one(app, name).state, one(app, name).tenants) == ("running", 5)
    assert one(app, name).state == "left"
    with pytest.raises(Unavailable), slots.occupied(app, name):
        raise Unavailable("Jane Roe")
    assert (one(app, name).state, one(app, name).trouble) == ("failed", "unavailable")


def test_an_end_with_an_error_keeps_its_reason_and_nothing_that_it_says(app: Headrace, name: str) -> None:
    slots.enrol(app, name)
    slots.leave(app, name, Unavailable("Jane Roe"))
    assert (one(app, name).state, one(app, name).trouble, one(app, name).crashes) == ("failed", "unavailable", 1)
    slots.enrol(app, name)
    slots.leave(app, name, RuntimeError("Jane Roe"))
    assert (one(app, name).state, one(app, name).trouble, one(app, name).crashes) == ("failed", "RuntimeError", 2)


def test_crashes_count_for_ten_minutes(app: Headrace, name: str) -> None:
    for _ in range(3):
        slots.enrol(app, name)
        pass_by(app, 100)
    slots.enrol(app, name)
    assert (one(app, name).state, one(app, name).crashes) == ("running", 3)
    pass_by(app, 450)
    slots.enrol(app, name)
    assert one(app, name).crashes == 1 + 1


def test_one_that_wakes_up_does_not_take_the_row_of_who_took_over(app: Headrace, name: str) -> None:
    slots.enrol(app, name)
    execute(app, "UPDATE headrace.slot SET host = 'elsewhere' WHERE slot = %(slot)s", slot=name)
    slots.record_heartbeat(app, name, beat(tenants=77))
    slots.leave(app, name, HeadraceError("x"))
    found = one(app, name)
    assert (found.host, found.state, found.tenants) == ("elsewhere", "running", 0)


def test_what_was_not_seen_for_a_day_is_forgotten_and_may_come_back(app: Headrace, name: str) -> None:
    slots.enrol(app, name)
    pass_by(app, slots.REMEMBERED_S + 1)
    assert slots.slots(app) == []
    slots.enrol(app, "another")
    assert [slot.slot for slot in slots.slots(app)] == ["another"]
    slots.record_heartbeat(app, name, beat())
    assert one(app, name).state == "running"


def test_a_slot_that_keeps_dying_is_named_though_it_is_alive_now(app: Headrace, name: str) -> None:
    for _ in range(1 + slots.CRASHING):
        assert slots.crashing(slots.slots(app)) == {}
        slots.enrol(app, name)
    assert slots.crashing(slots.slots(app)) == {name: slots.CRASHING}
    pass_by(app, slots.CRASHING_S + 1)
    slots.record_heartbeat(app, name, beat())
    assert slots.crashing(slots.slots(app)) == {}


def test_processes_without_a_name_that_die_one_after_the_other_are_counted_by_their_host(app: Headrace) -> None:
    for pid in range(slots.CRASHING):
        execute(app, "INSERT INTO headrace.slot (slot, host, pid, seen_at) VALUES ('box-' || %(p)s, 'box', %(p)s, now() + '1 s')", p=pid)
    assert slots.crashing(slots.slots(app)) == {}
    pass_by(app, slots.LOST_S + 2)
    assert slots.crashing(slots.slots(app)) == {"box": slots.CRASHING}


def test_without_postgres_a_stream_goes_on_and_nothing_is_written(app: Headrace, name: str) -> None:
    with Headrace(app.settings, app.endpoints) as ended:
        ended.tenants()
    # its connections are closed: Postgres is as far away as it can be, without the seconds that a connection takes to give up
    with slots.occupied(ended, name) as place:
        place.heartbeat(beat())
        with pytest.raises(Unavailable):
            slots.slots(ended)
    assert slots.slots(app) == []
