"""Landing: however events are split, repeated or reordered, each document has the state of its highest sequence."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier
from typing import Any, Literal

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import LostRace
from events.contract import UPSERT, KafkaRecord
from events.kafka.batches import Batch
from events.landing import Landed, land, land_records
from events.replay import reread
from tests.tenant_fixture import STRUCTURED, Inlet, World

pytestmark = pytest.mark.usefixtures("empty_world")

NAMES = ("a.md", "b.md", "c.md")
ZSTD = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True)
class Change:
    """A source's change of a document under one sequence: the same sequence always has the same content."""

    name: str
    sequence: int
    deletes: bool
    content: int
    acl: tuple[str, ...]

    def on(self, inlet: Inlet) -> KafkaRecord:
        if self.deletes:
            return inlet.delete(self.name, self.sequence)
        return inlet.upsert(self.name, self.text, self.sequence, acl=list(self.acl), title=self.text)

    @property
    def text(self) -> str:
        return f"text {self.content}"


CHANGES = st.builds(
    Change,
    name=st.sampled_from(NAMES),
    sequence=st.integers(0, 9),
    deletes=st.booleans(),
    content=st.integers(0, 2),
    acl=st.sampled_from([(), ("a",), ("a", "b"), ("*",)]),
)


@st.composite
def arrivals(draw: st.DrawFn) -> list[list[Change]]:
    """Batches of any size, of changes in any order and partly repeated."""
    changes = draw(st.lists(CHANGES, min_size=1, max_size=8, unique_by=lambda change: (change.name, change.sequence)))
    repeated = draw(st.lists(st.sampled_from(changes), max_size=6))
    order = draw(st.permutations(changes + repeated))
    cuts = sorted(draw(st.sets(st.integers(1, len(order)), max_size=4)) - {len(order)})
    return [order[start:end] for start, end in zip([0, *cuts], [*cuts, len(order)], strict=True)]


def newest(changes: Sequence[Change]) -> dict[str, Change]:
    """The model: the highest sequence wins."""
    return {change.name: change for change in sorted(changes, key=lambda change: change.sequence)}


def as_landed(world: World, name: str) -> tuple[Any, ...]:
    row = world.document(name)
    return row["sequence"], row["deleted"], row["acl"], row["content"], row["envelope"] and row["envelope"].title


def as_modelled(change: Change) -> tuple[Any, ...]:
    if change.deletes:
        return change.sequence, True, [], None, None
    return change.sequence, False, list(change.acl), change.text.encode(), change.text


def keys_of(world: World) -> dict[str, tuple[Any, ...]]:
    """By document, its keys. Who owns a deleted one depends on whether an upsert came before its delete."""
    columns = ("sequence_explicit", "state_key", "content_key", "envelope_key", "acl_key")
    rows = world.rows("SELECT * FROM document")
    return {row["document"]: (not row["deleted"] and row["source_key"], *(row[column] for column in columns)) for row in rows}


@given(arrivals())
@settings(max_examples=60)
def test_any_split_repetition_and_order_of_events_gives_the_state_of_the_highest_sequence(
    world: World, batches: list[list[Change]]
) -> None:
    world.clear()
    inlet, everything = world.inlet(), [change for batch in batches for change in batch]
    landed = Landed()
    for changes in batches:
        batch = inlet.batch(*[change.on(inlet) for change in changes])
        landed.add(inlet.land_batch(batch))
        with pytest.raises(LostRace):
            inlet.land_batch(batch)
    model = newest(everything)
    assert {name: as_landed(world, name) for name in model} == {name: as_modelled(change) for name, change in model.items()}
    assert landed.events == len(everything)
    assert landed.fates["dead-lettered"] == 0
    assert world.rows("SELECT count(*) AS events FROM event")[0]["events"] == len(everything)
    _same_keys_as_landed_at_once(world, list(model.values()))


def _same_keys_as_landed_at_once(world: World, changes: list[Change]) -> None:
    keys = keys_of(world)
    world.clear()
    inlet = world.inlet()
    inlet.land(*[change.on(inlet) for change in changes])
    assert keys_of(world) == keys


@given(arrivals())
@settings(max_examples=25)
def test_the_fate_of_every_event_is_recorded_in_order(world: World, batches: list[list[Change]]) -> None:
    world.clear()
    inlet, seen, published, expected = world.inlet(), dict[str, int](), set[str](), list[str]()
    for changes in batches:
        inlet.land(*[change.on(inlet) for change in changes])
        for change in changes:
            before = seen.get(change.name, -1)
            if change.deletes and change.name not in published:
                expected.append("unknown-document")
            else:
                expected.append("landed" if change.sequence > before else "unchanged" if change.sequence == before else "superseded")
            if expected[-1] == "landed":
                published.add(change.name)
            seen[change.name] = max(before, change.sequence)
    assert [row["fate"] for row in world.rows("SELECT fate FROM event ORDER BY kafka_offset")] == expected


def test_a_document_that_is_there_may_change_several_times_in_one_batch(world: World, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", "one", 1))
    landed = inlet.land(
        inlet.upsert("a.md", "two", 2), inlet.upsert("a.md", "three", 3), inlet.delete("a.md", 4), inlet.upsert("a.md", "five", 5)
    )
    assert landed.fates == Counter(landed=4)
    assert landed.documents == [world.key("a.md")]
    assert as_landed(world, "a.md")[:4] == (5, False, ["*"], b"five")


# the position


def test_a_batch_read_from_another_position_lands_nothing_at_all(world: World, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", "one", 1))
    before = world.everything()
    for start in (0, 2, 7):
        batch = Batch(
            inlet.topic, inlet.partition, start, 9, (inlet.upsert("b.md"), inlet.raw(b"c.md", b"not an event"), inlet.delete("a.md", 2))
        )
        with pytest.raises(LostRace):
            inlet.land_batch(batch)
        assert world.everything() == before


def test_a_first_batch_that_does_not_start_at_zero_lands_nothing(world: World, inlet: Inlet) -> None:
    inlet.skip(3)
    before = world.everything()
    with pytest.raises(LostRace):
        inlet.land_batch(Batch(inlet.topic, inlet.partition, 3, 4, (inlet.upsert("a.md"),)))
    assert world.everything() == before


@pytest.mark.parametrize("already_read", [False, True])
def test_of_two_consumers_with_the_same_batch_exactly_one_lands_it(world: World, already_read: bool) -> None:
    for _ in range(8):
        inlet = world.inlet()
        if already_read:
            inlet.land(inlet.upsert("a.md"))
        world.clear()
        batch = inlet.batch(inlet.upsert("a.md"), inlet.raw(b"b.md", b"{}"), inlet.upsert("c.md"))
        with ThreadPoolExecutor(2) as threads:
            outcomes = list(threads.map(_landing_with(inlet, batch, Barrier(2)), range(2)))
        assert sorted(outcomes) == ["landed", "lost-race"]
        assert world.rows("SELECT count(*) AS n FROM event")[0]["n"] == 3
        assert [letter["attempts"] for letter in world.letters()] == [1]
        assert inlet.committed() == batch.end


def _landing_with(inlet: Inlet, batch: Batch, barrier: Barrier) -> Any:
    def attempt(_: int) -> str:
        try:
            with inlet.world.session.transaction() as connection:
                barrier.wait(20)
                land(connection, inlet.world.session.keys, batch)
        except LostRace as lost:
            return lost.reason
        return "landed"

    return attempt


class Crash(Exception):
    pass


def test_a_crash_after_landing_and_before_the_commit_leaves_nothing(world: World, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", "one", 1))
    before = world.everything()
    batch = inlet.batch(inlet.upsert("a.md", "two", 2), inlet.upsert("b.md"), inlet.raw(b"c.md", b"{}"))
    with pytest.raises(Crash):
        _land_and_crash(world, batch)
    assert world.everything() == before
    assert inlet.land_batch(batch).events == 3


def _land_and_crash(world: World, batch: Batch) -> None:
    with world.session.transaction() as connection:
        land(connection, world.session.keys, batch)
        raise Crash


@pytest.mark.parametrize("known", [False, True])
def test_a_document_that_another_worker_lands_in_between_is_landed_by_exactly_one_of_them(world: World, known: bool) -> None:
    """Two partitions may have events of one document: after a repartitioning, or in a replay."""
    one, two = world.inlet(), world.inlet()
    if known:
        one.land(one.upsert("a.md", "first", 1))
    ours, theirs = one.batch(one.upsert("a.md", "ours", 2), one.upsert("b.md", "ours", 2)), two.batch(two.upsert("a.md", "theirs", 3))
    with ThreadPoolExecutor(1) as thread:
        with world.session.transaction() as connection:
            land(connection, world.session.keys, theirs)
            with world.until_blocked():
                running = thread.submit(one.land_batch, ours)
        if known:  # it waits for the document's lock, then sees the other's state
            landed = running.result(20)
        else:
            with pytest.raises(LostRace):
                running.result(20)
            assert [row["document"] for row in world.rows("SELECT document FROM document")] == [world.key("a.md")]
            landed = one.land_batch(ours)
    assert landed.fates == Counter(superseded=1, landed=1)
    assert as_landed(world, "a.md")[3] == b"theirs"


def test_offsets_without_a_record_move_the_position(inlet: Inlet) -> None:
    inlet.skip(4)
    first = inlet.upsert("a.md")
    inlet.skip(5)
    inlet.land(first)
    assert inlet.committed() == 10
    inlet.skip(7)
    assert inlet.land().events == 0
    assert inlet.committed() == 17
    assert inlet.land(inlet.upsert("a.md")).fates == Counter(landed=1)


def test_partitions_have_positions_of_their_own(world: World) -> None:
    one, two = world.inlet(), world.inlet()
    one.land(one.upsert("a.md"), one.upsert("a.md"))
    two.land(two.upsert("b.md"))
    assert (one.committed(), two.committed()) == (2, 1)


# fencing


def test_late_update_does_not_resurrect_a_deleted_document(world: World, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", "one", 1), inlet.delete("a.md", 5))
    assert inlet.land(inlet.upsert("a.md", "late", 4)).fates == Counter(superseded=1)
    assert as_landed(world, "a.md") == (5, True, [], None, None)


def test_a_delete_before_the_first_upsert_leaves_a_tombstone_that_fences(world: World, inlet: Inlet) -> None:
    inlet.land(inlet.delete("a.md", 5))
    assert inlet.land(inlet.upsert("a.md", "late", 4)).fates == Counter(superseded=1)
    assert as_landed(world, "a.md") == (5, True, [], None, None)
    assert inlet.land(inlet.upsert("a.md", "new", 6)).fates == Counter(landed=1)
    assert as_landed(world, "a.md")[:4] == (6, False, ["*"], b"new")


def test_a_delete_leaves_no_content_and_no_envelope(world: World, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", "one", 1, title="A", acl=["jo"]))
    inlet.land(inlet.delete("a.md", 2))
    assert as_landed(world, "a.md") == (2, True, [], None, None)


def test_the_same_sequence_with_the_same_content_is_unchanged(world: World, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", "one", 1, title="A"))
    before = world.rows("SELECT * FROM document")
    assert inlet.land(inlet.upsert("a.md", "one", 1, title="A")).fates == Counter(unchanged=1)
    assert world.rows("SELECT * FROM document") == before


@pytest.mark.parametrize(
    "changed",
    [
        {"content": "two"},
        {"title": "B"},
        {"acl": ["jo"]},
        {"metadata": {"k": "v"}},
        {"media_type": "text/plain"},
        {"file_name": "b.md"},
        {"delete": 1},
    ],
)
def test_the_same_sequence_with_anything_else_is_a_conflict_and_the_first_stays(
    world: World, inlet: Inlet, changed: dict[str, Any]
) -> None:
    inlet.land(inlet.upsert("a.md", "one", 1, title="A"))
    before = world.rows("SELECT * FROM document")
    second = (
        inlet.delete("a.md", 1)
        if "delete" in changed
        else inlet.upsert("a.md", **{"content": "one", "sequence": 1, "title": "A", **changed})
    )
    assert inlet.land(second).reasons == Counter({"sequence-conflict": 1})
    assert world.rows("SELECT * FROM document") == before
    letter = world.letters()[0]
    assert (letter["kafka_partition"], letter["kafka_offset"], letter["stage"]) == (inlet.partition, second.offset, "land")
    assert (letter["reason"], letter["document"]) == ("sequence-conflict", world.key("a.md"))


def test_an_upsert_at_a_tombstones_sequence_is_a_conflict(world: World, inlet: Inlet) -> None:
    inlet.land(inlet.delete("a.md", 3))
    assert inlet.land(inlet.upsert("a.md", "one", 3)).reasons == Counter({"sequence-conflict": 1})
    assert as_landed(world, "a.md")[1]


def test_without_a_sequence_the_brokers_order_counts(world: World, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", "one"), inlet.upsert("a.md", "two"))
    inlet.land(inlet.upsert("a.md", "three"))
    assert as_landed(world, "a.md")[:4] == (2, False, ["*"], b"three")


@pytest.mark.parametrize("explicit_first", [True, False])
def test_numbered_and_unnumbered_events_of_one_document_do_not_mix(world: World, inlet: Inlet, explicit_first: bool) -> None:
    inlet.land(inlet.upsert("a.md", "first", 1 if explicit_first else None))
    landed = inlet.land(
        inlet.upsert("a.md", "second", None if explicit_first else 99), inlet.delete("a.md", None if explicit_first else 99)
    )
    assert landed.reasons == Counter({"sequence-kind-mismatch": 2})
    assert world.document("a.md")["content"] == b"first"


# partitions and spellings


def test_without_append_times_a_delete_by_another_partition_is_a_dead_letter_and_a_replay_refuses_it_again(world: World) -> None:
    one, other = world.inlet(), world.inlet()
    one.skip(5)
    published = one.upsert("a.md", "one")
    one.land(published)
    deleted = other.delete("a.md")
    assert other.land(deleted).reasons == Counter({"partition-changed": 1})
    assert not as_landed(world, "a.md")[1]
    assert [(letter["reason"], letter["document"]) for letter in world.letters()] == [("partition-changed", world.key("a.md"))]
    before = world.everything()
    assert _reread(world, [published]).fates == Counter(unchanged=1)
    assert _reread(world, [deleted]).reasons == Counter({"partition-changed": 1})
    assert world.everything() == before


def test_append_times_order_two_partitions_and_a_replay_of_both_changes_nothing(world: World) -> None:
    one, other = world.inlet(), world.inlet()
    one.skip(5)
    one.append_time_s, other.append_time_s = 1, 2
    published, deleted = one.upsert("a.md", "one"), other.delete("a.md")
    other.append_time_s = 0
    late = other.upsert("a.md", "late")
    assert one.land(published).fates == Counter(landed=1)
    assert other.land(deleted).fates == Counter(landed=1)
    assert as_landed(world, "a.md") == (0, True, [], None, None)
    assert other.land(late).fates == Counter(landed=1)  # a clock that went back: within the partition the offset counts
    one.append_time_s = 1
    assert one.land(one.upsert("a.md", "between")).fates == Counter(superseded=1)
    before = world.everything()
    for record, fate in ((published, "superseded"), (deleted, "superseded"), (late, "unchanged")):
        assert _reread(world, [record]).fates == Counter([fate])
    assert world.everything() == before


def test_an_event_that_was_ordered_when_it_landed_is_not_refused_by_a_replay(world: World) -> None:
    """A document moves to another partition while its topic begins to keep append times; the replay begins with its first event."""
    one, other = world.inlet(), world.inlet()
    published = one.upsert("a.md", "one")
    one.land(published)
    other.append_time_s = 1_000_000_000
    assert other.land(moved := other.upsert("a.md", "two")).fates == Counter(landed=1)
    before = world.everything()
    assert _reread(world, [published]).fates == Counter(superseded=1)
    assert _reread(world, [moved]).fates == Counter(unchanged=1)
    world.rows("DELETE FROM event RETURNING kafka_offset")  # as retention does
    assert _reread(world, [published]).fates == Counter(superseded=1)
    assert world.rows("SELECT FROM event") == []
    assert world.rows("SELECT FROM dead_letter") == []
    assert world.everything() == before | {"event": []}


def _reread(world: World, records: Sequence[KafkaRecord]) -> Landed:
    with world.session.transaction() as connection:
        return reread(connection, world.session.keys, records)


LETTERS = st.sampled_from("aéÜệ한がÅ\u0301\u0307\u0323ﬁ\u0958")
SPELLINGS: st.SearchStrategy[Literal["NFC", "NFD"] | None] = st.sampled_from(["NFC", "NFD", None])


@given(st.text(LETTERS, min_size=1, max_size=5), st.lists(st.tuples(st.booleans(), SPELLINGS), min_size=1, max_size=5))
@settings(max_examples=40)
def test_every_spelling_of_an_id_is_the_one_document(
    world: World, name: str, events: list[tuple[bool, Literal["NFC", "NFD"] | None]]
) -> None:
    world.clear()
    inlet, published, shown = world.inlet(), False, ""
    for number, (deletes, form) in enumerate(events):
        spelled = unicodedata.normalize(form, name) if form else name
        fate = "unknown-document" if deletes and not published else "landed"
        published |= not deletes
        shown = shown if deletes else spelled
        assert inlet.land(inlet.delete(spelled) if deletes else inlet.upsert(spelled, f"text {number}")).fates == Counter([fate])
    [row] = world.rows("SELECT document, deleted FROM document")
    assert row == {"document": world.key(name), "deleted": events[-1][0]}
    found = world.document(name)
    assert found["envelope"] is None or found["envelope"].name == shown
    raw = inlet.raw(unicodedata.normalize("NFD", name).encode(), b"not an event")
    inlet.land(raw)
    assert [letter["document"] for letter in world.letters()] == [world.key(name)]


def test_a_key_that_differs_from_the_subject_in_more_than_its_spelling_is_refused(inlet: Inlet) -> None:
    body = json.loads(inlet.upsert("Überblick").value or b"")
    for key in ("U\u0308berblick", "Uberblick", "Überblick "):
        record = inlet.raw(key.encode(), json.dumps(body).encode())
        landed = inlet.land(record)
        assert landed.reasons == (Counter() if unicodedata.normalize("NFC", key) == "Überblick" else Counter({"key-mismatch": 1}))


# ownership


@given(st.lists(st.tuples(st.sampled_from(["/wiki", "/crm", "/hr"]), st.integers(0, 5), st.booleans()), min_size=1, max_size=8))
@settings(max_examples=25)
def test_no_event_of_another_source_ever_changes_a_document(world: World, events: list[tuple[str, int, bool]]) -> None:
    world.clear()
    inlet, owner, foreign, fence = world.inlet(), None, 0, -1
    for source, sequence, deletes in events:
        text = f"{source} {sequence}"
        inlet.land(inlet.delete("a.md", sequence, source) if deletes else inlet.upsert("a.md", text, sequence, source))
        if owner is None and not deletes and sequence > fence:
            owner = source  # the first upsert that lands
        foreign += owner not in (None, source)
        fence = max(fence, sequence)
        content = world.document("a.md")["content"]
        assert content is None or content.startswith(str(owner).encode())
    assert [letter["reason"] for letter in world.letters()].count("source-mismatch") == foreign


def test_a_tombstone_still_belongs_to_its_source(world: World, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", "one", 1), inlet.delete("a.md", 2))
    assert inlet.land(inlet.upsert("a.md", "theirs", 3, "/crm")).reasons == Counter({"source-mismatch": 1})
    assert as_landed(world, "a.md")[1]


def test_a_null_value_deletes(world: World, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", "one"))
    assert inlet.land(inlet.null("a.md")).fates == Counter(landed=1)
    assert as_landed(world, "a.md") == (1, True, [], None, None)


def test_after_a_null_value_a_document_still_belongs_to_its_source(world: World, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", "one"), inlet.null("a.md"))
    assert inlet.land(inlet.upsert("a.md", "theirs", source="/crm")).reasons == Counter({"source-mismatch": 1})
    assert inlet.land(inlet.upsert("a.md", "ours")).fates == Counter(landed=1)


def test_a_null_value_for_an_unknown_document_leaves_it_to_the_first_source_that_comes(world: World, inlet: Inlet) -> None:
    inlet.land(inlet.null("a.md"))
    assert inlet.land(inlet.upsert("a.md", "one")).fates == Counter(landed=1)
    assert inlet.land(inlet.upsert("a.md", "theirs", source="/crm")).reasons == Counter({"source-mismatch": 1})
    assert as_landed(world, "a.md")[:4] == (1, False, ["*"], b"one")


# digests that later stages compare


def test_a_reference_without_a_digest_is_new_content_with_every_event(world: World, inlet: Inlet) -> None:
    def content_keys(**digest: str) -> list[str]:
        keys = []
        for sequence in (1, 2):
            inlet.land(inlet.upsert(f"a{digest}", None, sequence, uri="https://wiki.example/a", **digest))
            keys.append(world.document(f"a{digest}")["content_key"])
        return keys

    assert len(set(content_keys())) == 2
    assert len(set(content_keys(content_sha256="0" * 64))) == 1


def test_a_text_that_looks_like_a_reference_is_not_mistaken_for_one(world: World, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", None, 1, uri="https://wiki.example/a", content_sha256="0" * 64))
    reference = world.document("a.md")["content_key"]
    for sequence, text in enumerate((f"uri:https://wiki.example/a:{'0' * 64}", f"uri\0https://wiki.example/a\0{'0' * 64}"), start=2):
        inlet.land(inlet.upsert("a.md", text.encode(), sequence))
        assert world.document("a.md")["content_key"] != reference


def test_landing_content_again_after_a_reference_leaves_only_the_newest(world: World, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", "inline", 1))
    inlet.land(inlet.upsert("a.md", None, 2, uri="https://wiki.example/a"))
    assert world.document("a.md")["content"] is None
    inlet.land(inlet.upsert("a.md", "", 3))
    assert world.document("a.md")["content"] == b""


def test_a_replay_of_landed_records_changes_no_document_and_no_position(world: World, inlet: Inlet) -> None:
    records = [inlet.upsert("a.md", "one", 1), inlet.upsert("a.md", "two", 2), inlet.delete("b.md", 1)]
    inlet.land(*records)
    before = world.rows("SELECT * FROM document"), world.rows("SELECT * FROM stream_position")
    with world.session.transaction() as connection:
        again = land_records(connection, world.session.keys, records)
    assert again.fates == Counter({"unchanged": 1, "superseded": 1, "unknown-document": 1})
    assert (world.rows("SELECT * FROM document"), world.rows("SELECT * FROM stream_position")) == before


# refusals

CANARY = "Zerelda-Quackenbush"


def violations(inlet: Inlet) -> list[KafkaRecord]:
    """Records that violate the contract, each with the canary in as many places as possible."""
    data = {"content": CANARY, "title": CANARY, "metadata": {CANARY: CANARY}}
    return [
        inlet.raw(CANARY.encode(), CANARY.encode()),
        inlet.raw(CANARY.encode(), CANARY.encode(), [("content-type", CANARY.encode())]),
        inlet.raw(CANARY.encode(), b"\xff\xfe" + CANARY.encode()),
        inlet.raw(CANARY.encode(), b'{"specversion": "1.0", "' + CANARY.encode() + b'": '),
        inlet.raw(None, None, ()),
        inlet.raw(b"\xff" + CANARY.encode(), None, ()),
        inlet.event(UPSERT, CANARY, "/wiki", data | {"sequence": -1}),
        inlet.event(UPSERT, CANARY, "/wiki", data | {"sequence": CANARY}),
        inlet.event(UPSERT, CANARY, "/wiki", data | {"acl": CANARY}),
        inlet.event(UPSERT, CANARY, "/wiki", data | {"metadata": {CANARY: {CANARY: 1}}}),
        inlet.event(UPSERT, CANARY, "/wiki", data | {"uri": f"https://{CANARY}/"}),
        inlet.event(UPSERT, CANARY, "/wiki", data, time=CANARY),
        inlet.event(CANARY, CANARY, "/wiki", data),
        inlet.event("headrace.document.upsert.v2", CANARY, "/wiki", data),
        inlet.event(UPSERT, CANARY, f"{CANARY} not a URI", data),
        KafkaRecord(inlet.topic, inlet.partition, inlet.event(UPSERT, CANARY, "/wiki", data).offset, 0, b"another", b"{}", STRUCTURED),
    ]


def test_what_is_outside_the_contract_becomes_a_dead_letter_and_its_neighbours_land(world: World, inlet: Inlet) -> None:
    bad = violations(inlet)
    landed = inlet.land(inlet.upsert("a.md"), *bad, inlet.upsert("b.md"))
    assert landed.fates == Counter({"landed": 2, "dead-lettered": len(bad)})
    assert sum(landed.reasons.values()) == len(bad)
    letters = {(letter["kafka_partition"], letter["kafka_offset"]): letter for letter in world.letters()}
    assert set(letters) == {(inlet.partition, record.offset) for record in bad}
    assert all(letter["reason"] and letter["detail"] and letter["stage"] == "land" for letter in letters.values())
    assert inlet.committed() == inlet.offset


@given(st.lists(st.tuples(st.none() | st.binary(max_size=20), st.none() | st.binary(max_size=60)), max_size=6))
@settings(max_examples=25)
def test_no_bytes_whatever_stop_a_batch(world: World, records: list[tuple[bytes | None, bytes | None]]) -> None:
    world.clear()
    inlet = world.inlet()
    landed = inlet.land(*[inlet.raw(key, value) for key, value in records], inlet.upsert("a.md", "one", 1))
    assert landed.events == len(records) + 1
    assert as_landed(world, "a.md")[3] == b"one"


def test_nothing_of_an_event_stands_in_clear_in_any_table(world: World, inlet: Inlet) -> None:
    known: dict[str, Any] = {"title": CANARY, "file_name": f"{CANARY}.md", "media_type": f"text/{CANARY}", "metadata": {CANARY: CANARY}}
    inlet.land(
        inlet.upsert(f"people/{CANARY}", f"about {CANARY}", 2, f"/{CANARY}", **known),
        inlet.upsert(f"people/{CANARY}", "another", 2, f"/{CANARY}"),
        inlet.upsert(f"people/{CANARY}", f"{CANARY} bytes".encode(), 1, f"/{CANARY}", **known),
        inlet.upsert(f"{CANARY}.pdf", None, 1, uri=f"https://wiki.example/{CANARY}", **known),
        inlet.upsert(f"{CANARY}.pdf", CANARY, 2, f"/other/{CANARY}"),
        inlet.event(UPSERT, "c.md", "/wiki", {"content": "text", "added": CANARY}, id=CANARY, extension=CANARY),
        inlet.delete(f"gone/{CANARY}", 3, f"/{CANARY}"),
        *violations(inlet),
    )
    assert world.document(f"people/{CANARY}")["content"] == f"about {CANARY}".encode()
    assert world.document(f"people/{CANARY}")["envelope"].metadata == {CANARY: CANARY}
    values = list(every_value(world))
    assert len(values) > 200
    assert not [table for table, value in values if CANARY.lower().encode() in value.lower()]


def every_value(world: World) -> Iterator[tuple[str, bytes]]:
    """Every value of every table of the tenant's schema; zstd frames are decompressed."""
    tables = world.rows("SELECT tablename FROM pg_tables WHERE schemaname = %(schema)s", schema=f"tenant_{world.tenant}")
    assert {"document", "artifact", "event", "dead_letter", "stage_record"} <= {row["tablename"] for row in tables}
    for table in sorted(row["tablename"] for row in tables):
        for row in world.rows(f"SELECT * FROM {table}"):
            for value in row.values():
                raw = value if isinstance(value, bytes) else str(value).encode()
                yield table, zstandard.ZstdDecompressor().decompress(raw) if raw.startswith(ZSTD) else raw
