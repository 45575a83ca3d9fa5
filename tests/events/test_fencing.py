"""Fencing, without a server: whatever the order in which two partitions are read, and whatever is deleted before it was published."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from events.fencing import PARTITION_CHANGED, REFUSALS, State, Verdict, fold

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
PARTITIONS = st.integers(0, 1)


def at(seconds: int) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def state(
    sequence: int, *, explicit: bool = False, deletes: bool = False, source: str = "/wiki", partition: int = 0, appended: int | None = None
) -> State:
    """What an event asks for; its content says where it comes from."""
    content = "" if deletes else f"{partition}:{sequence}"
    return State(
        document="a.md",
        revision=0,
        sequence=sequence,
        sequence_explicit=explicit,
        published=not deletes,
        source_key=source,
        state_key=content,
        content_key=content,
        envelope_key=source,
        acl_key="*",
        deleted=deletes,
        kafka_partition=partition,
        appended_at=None if appended is None else at(appended),
    )


def folded(events: Sequence[State], before: State | None = None) -> tuple[State | None, list[Verdict]]:
    verdicts = []
    for event in events:
        verdict = fold(before, event)
        before = verdict.state
        verdicts.append(verdict)
    return before, verdicts


@st.composite
def two_partitions(draw: st.DrawFn) -> tuple[list[list[State]], list[State]]:
    """The records of a document in two partitions, and an order in which they may be read. Brokers' clocks may go back."""
    record = st.tuples(st.integers(0, 9), st.booleans())
    partitions = [
        [state(offset, partition=partition, appended=time, deletes=deletes) for offset, (time, deletes) in enumerate(records)]
        for partition, records in enumerate(draw(st.tuples(st.lists(record, max_size=5), st.lists(record, max_size=5))))
    ]
    turns = draw(st.permutations([0] * len(partitions[0]) + [1] * len(partitions[1])))
    rest = [iter(records) for records in partitions]
    return partitions, [next(rest[turn]) for turn in turns]


def last_appended(records: Sequence[State]) -> datetime:
    return max(record.appended_at or BEGIN for record in records)


# between partitions


@given(two_partitions())
def test_in_whatever_order_two_partitions_are_read_the_state_is_that_of_what_was_appended_last(
    given_records: tuple[list[list[State]], list[State]],
) -> None:
    partitions, order = given_records
    found = [records for records in partitions if records]
    assume(found)
    assume(len(found) == 1 or last_appended(found[0]) != last_appended(found[1]))
    newest = max(found, key=last_appended)[-1]
    final, _ = folded(order)
    assert final is not None
    assert (final.kafka_partition, final.sequence, final.deleted) == (newest.kafka_partition, newest.sequence, newest.deleted)
    again, verdicts = folded(order, final)
    assert again == final
    assert "landed" not in {verdict.fate for verdict in verdicts}


@given(two_partitions(), st.booleans())
def test_without_append_times_what_comes_by_another_partition_is_refused_and_never_reported_as_older_or_the_same(
    given_records: tuple[list[list[State]], list[State]], first_has_one: bool
) -> None:
    _, order = given_records
    before: State | None = None
    for number, record in enumerate(order):
        event = record if first_has_one and number == 0 else replace(record, appended_at=None)
        verdict = fold(before, event)
        if before is not None and event.kafka_partition != before.kafka_partition and not (event.deleted and not before.published):
            assert (verdict.fate, verdict.reason) == ("dead-lettered", PARTITION_CHANGED)
            assert verdict.detail == REFUSALS[PARTITION_CHANGED]
        else:
            assert verdict.reason is None
        before = verdict.state


@given(st.lists(st.tuples(st.integers(0, 9), PARTITIONS, st.none() | st.integers(0, 9)), min_size=1, max_size=8))
def test_explicit_sequences_order_events_whatever_their_partitions_and_times(events: list[tuple[int, int, int | None]]) -> None:
    numbered = [replace(state(n, explicit=True, partition=p, appended=t), state_key=str(n), content_key=str(n)) for n, p, t in events]
    final, verdicts = folded(numbered)
    assert final is not None
    assert final.sequence == max(sequence for sequence, _, _ in events)
    assert {verdict.reason for verdict in verdicts} == {None}


def test_equal_append_times_do_not_order_two_partitions_nor_do_equal_offsets() -> None:
    stored = state(3, appended=5)
    assert fold(stored, state(4, partition=1, appended=5)).reason == PARTITION_CHANGED
    assert fold(stored, replace(state(3, partition=1), state_key=stored.state_key)).reason == PARTITION_CHANGED
    assert fold(stored, state(3, partition=1, appended=6)).fate == "landed"
    assert fold(stored, state(3, partition=1, appended=4)).fate == "superseded"


def test_a_state_from_before_append_times_is_older_than_what_was_appended_after_it_had_landed() -> None:
    stored = replace(state(3), landed_at=at(5))
    assert fold(stored, state(0, partition=1, appended=6)).fate == "landed"
    for time in (5, 4, None):
        assert fold(stored, state(9, partition=1, appended=time)).reason == PARTITION_CHANGED
    assert fold(state(3), state(9, partition=1, appended=6)).reason == PARTITION_CHANGED


@given(PARTITIONS, st.none() | st.integers(0, 9), st.none() | st.integers(0, 9))
def test_what_is_in_a_recreated_topic_is_newer_than_all_of_the_former_one(
    partition: int, former_time: int | None, time: int | None
) -> None:
    former = state(7, appended=former_time)
    assert fold(former, state(8, partition=partition, appended=time), topic_base=8).fate == "landed"
    assert fold(former, state(8, partition=1, appended=None), topic_base=7).reason == PARTITION_CHANGED


# deletes of what is not known

DELETES = st.builds(
    lambda sequence, explicit, partition, appended: state(
        sequence, explicit=explicit, deletes=True, source="/stranger", partition=partition, appended=appended
    ),
    st.integers(0, 9),
    st.booleans(),
    PARTITIONS,
    st.none() | st.integers(0, 9),
)


@given(st.lists(DELETES, max_size=4), st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["/wiki", "/crm"])), min_size=1, max_size=4))
def test_deletes_of_an_unknown_id_own_nothing_and_no_upsert_below_the_highest_one_lands(
    deletes: list[State], upserts: list[tuple[int, str]]
) -> None:
    before, verdicts = folded(deletes)
    assert {verdict.fate for verdict in verdicts} <= {"unknown-document"}
    fence = max((delete.sequence for delete in deletes if delete.sequence_explicit), default=-1)
    for sequence, source in upserts:
        assert before is None or (before.source_key, before.published, before.deleted) == ("", False, True)
        verdict = fold(before, state(sequence, explicit=True, source=source))
        if sequence > fence:
            assert verdict.fate == "landed"
            assert verdict.state is not None
            assert (verdict.state.source_key, verdict.state.sequence_explicit, verdict.state.published) == (source, True, True)
            return
        assert verdict.reason == ("sequence-conflict" if sequence == fence else None)
        assert verdict.state is before


@pytest.mark.parametrize("explicit", [True, False])
def test_after_a_delete_of_an_unknown_id_the_first_upsert_sets_the_kind_of_sequence(explicit: bool) -> None:
    fence, _ = folded([state(9, explicit=not explicit, deletes=True)])
    verdict = fold(fence, state(1, explicit=explicit))
    assert verdict.fate == "landed"
    assert fold(verdict.state, state(10, explicit=not explicit)).reason == "sequence-kind-mismatch"


def test_an_upsert_by_another_partition_than_the_delete_of_its_unknown_id_is_ordered_by_append_time() -> None:
    fence, _ = folded([state(3, deletes=True, appended=5)])
    assert fold(fence, state(9, partition=1, appended=4)).fate == "superseded"
    assert fold(fence, state(0, partition=1, appended=6)).fate == "landed"
    assert fold(fence, state(9, partition=1)).reason == PARTITION_CHANGED


def test_a_published_document_is_deleted_and_stays_its_sources() -> None:
    deleted, _ = folded([state(1, explicit=True), state(2, explicit=True, deletes=True)])
    assert deleted is not None
    assert (deleted.deleted, deleted.published, deleted.source_key) == (True, True, "/wiki")
    assert fold(deleted, state(3, explicit=True, source="/crm")).reason == "source-mismatch"
    assert fold(deleted, state(3, explicit=True, deletes=True)).fate == "landed"


def test_the_same_event_under_another_state_key_is_unchanged() -> None:
    """As after an id was normalised: the stored state key has the id as it was spelt."""
    stored = state(1, explicit=True)
    assert fold(stored, replace(state(1, explicit=True), state_key="other")).fate == "unchanged"
    assert fold(stored, replace(state(1, explicit=True), state_key="other", acl_key="other")).reason == "sequence-conflict"
