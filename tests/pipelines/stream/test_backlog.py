"""What waits for a lane of the stream, and whose batch it is."""

from __future__ import annotations

from collections import Counter
from threading import Barrier, Event, Lock
from time import monotonic, sleep

from hypothesis import given
from hypothesis import strategies as st

from pipelines.stream.backlog import LARGEST, SMALLEST, SMALLEST_ALONE, Backlog, Batch
from pipelines.stream.lanes import Lanes

TENANTS = st.sampled_from("abcde")
ADDED = st.lists(st.tuples(TENANTS, st.lists(st.integers(0, 200).map(str), max_size=80)), max_size=20)


def filled(added: list[tuple[str, list[str]]]) -> Backlog:
    backlog = Backlog(1.0)
    for tenant, documents in added:
        backlog.add(tenant, documents)
    return backlog


def batches(backlog: Backlog) -> list[Batch]:
    found = []
    while batch := backlog.take():
        found.append(batch)
    return found


@given(ADDED)
def test_every_document_comes_once_and_a_tenant_s_in_the_order_they_came(added: list[tuple[str, list[str]]]) -> None:
    wanted: dict[str, dict[str, None]] = {}
    for tenant, documents in added:
        wanted.setdefault(tenant, {}).update(dict.fromkeys(documents))
    got: dict[str, list[str]] = {}
    for batch in batches(filled(added)):
        got.setdefault(batch.tenant, []).extend(batch.documents)
    assert got == {tenant: list(documents) for tenant, documents in wanted.items() if documents}


@given(ADDED)
def test_no_tenant_has_a_second_turn_before_every_other_that_waits_had_one(added: list[tuple[str, list[str]]]) -> None:
    backlog = filled(added)
    while waiting := set(backlog.counts()):
        round_of = [batch.tenant for batch in (backlog.take() for _ in waiting) if batch]
        assert sorted(round_of) == sorted(waiting)


@given(ADDED, st.frozensets(TENANTS))
def test_who_has_a_turn_already_keeps_its_place(added: list[tuple[str, list[str]]], busy: frozenset[str]) -> None:
    backlog = filled(added)
    before = list(backlog.counts())
    batch = backlog.take(without=busy)
    assert (batch.tenant if batch else None) == next((tenant for tenant in before if tenant not in busy), None)
    others = [tenant for tenant in before if not batch or tenant != batch.tenant]
    assert [tenant for tenant in backlog.counts() if not batch or tenant != batch.tenant] == others


@given(ADDED, st.floats(0.0001, 60))
def test_a_turn_is_as_long_as_fits_the_time_by_what_turns_took_but_not_of_a_few_documents(
    added: list[tuple[str, list[str]]], pace: float
) -> None:
    backlog = filled(added)
    for tenant in "abcde":
        backlog.measured(Batch(tenant, ("x",)), pace)
    while waiting := backlog.counts():
        batch = backlog.take()
        assert batch
        least = SMALLEST if len(waiting) > 1 else SMALLEST_ALONE
        fitting = min(LARGEST, max(least, round(1.0 / pace)))
        assert len(batch.documents) == min(fitting, waiting[batch.tenant])


def test_lanes_work_at_the_same_time_and_each_gets_what_the_one_before_has_done() -> None:
    meeting, seen, lock = Event(), list[tuple[int, str]](), Lock()

    def first(batch: Batch) -> None:
        if batch.documents == ("2",):
            assert meeting.wait(10), "the second lane does not work while the first one does"
        with lock:
            seen.extend((1, document) for document in batch.documents)

    def second(batch: Batch) -> None:
        meeting.set()
        with lock:
            seen.extend((2, document) for document in batch.documents)

    lanes = Lanes(first, second)
    lanes.add("a", ("1",))
    until = monotonic() + 10
    while not seen and monotonic() < until:
        sleep(0.001)
    lanes.add("a", ("2",))
    assert lanes.close(10)
    assert sorted(seen) == [(1, "1"), (1, "2"), (2, "1"), (2, "2")]
    assert lanes.in_flight("a") == frozenset()


def test_two_tenants_work_abreast_in_a_lane_and_no_tenant_beside_itself() -> None:
    meeting, going_on, lock = Barrier(2), Event(), Lock()
    at_work, most = Counter[str](), Counter[str]()

    def work(batch: Batch) -> None:
        with lock:
            at_work[batch.tenant] += 1
            most[batch.tenant] = max(most[batch.tenant], at_work[batch.tenant])
        if batch.documents == ("first",):
            meeting.wait(10)
            going_on.wait(10)
        with lock:
            at_work[batch.tenant] -= 1

    lanes = Lanes(work)
    lanes.add("a", ("first",))
    lanes.add("b", ("first",))
    until = monotonic() + 10
    while sum(at_work.values()) < 2 and monotonic() < until:
        sleep(0.001)
    lanes.add("a", ("second",))
    lanes.add("c", ("second",))
    going_on.set()
    assert lanes.close(10)
    assert (set(most), max(most.values())) == ({"a", "b", "c"}, 1)


def test_closing_waits_no_longer_than_it_may() -> None:
    going_on, begun = Event(), Event()

    def stuck(_: Batch) -> None:
        begun.set()
        going_on.wait(10)

    lanes = Lanes(stuck)
    lanes.add("a", ("1",))
    assert begun.wait(10)
    assert lanes.counts() == {"a": 1}
    assert lanes.in_flight("a") == {"1"}
    assert not lanes.close(0.05)
    going_on.set()
