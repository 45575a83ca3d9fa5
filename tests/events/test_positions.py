"""A topic that is recreated, cut, or emptied before it was read: reading continues, losses are reported, and no late event wins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import HeadraceError, LostRace
from events.contract import topic_of
from events.kafka.batches import Batch
from events.kafka.topics import Topics, delete_topics, ensure_topics
from events.landing import Landed, land
from events.positions import Bounds, Position, Reconciled, current, dismiss, losses, plan, reconcile, stored
from pipelines.app import Headrace
from pipelines.operations import dead_letters, replay
from tests.tenant_fixture import Inlet, World, publish

IDS = st.sampled_from(["one", "two"])
POSITIONS = st.builds(
    lambda at, topic_id, base, base_from: Position(at, topic_id, base, min(at, base_from)),
    st.integers(0, 9),
    st.none() | IDS,
    st.integers(0, 9),
    st.integers(0, 9),
)
BOUNDS = st.tuples(st.integers(0, 9), st.integers(0, 9)).map(lambda pair: Bounds(min(pair), max(pair)))
PARTITIONS = st.integers(0, 2)


# planning, without a database


@given(IDS, st.dictionaries(PARTITIONS, POSITIONS), st.dictionaries(PARTITIONS, BOUNDS))
def test_a_reconciled_position_can_be_read_from_and_no_running_offset_decreases(
    topic_id: str, seen: dict[int, Position], bounds: dict[int, Bounds]
) -> None:
    reconciled = plan(topic_id, seen, bounds)
    assert reconciled.keys() == bounds.keys()
    for partition, found in reconciled.items():
        at = found.position
        assert bounds[partition].low <= at.next_offset <= bounds[partition].high
        assert at.base_from <= at.next_offset
        assert at.topic_id == topic_id
        assert at.running >= seen.get(partition, Position()).running
    after = seen | {partition: found.position for partition, found in reconciled.items()}
    assert plan(topic_id, after, bounds) == {partition: Reconciled(after[partition]) for partition in bounds}


@given(st.dictionaries(PARTITIONS, POSITIONS, min_size=1), st.dictionaries(PARTITIONS, BOUNDS, min_size=1))
def test_a_recreated_topic_begins_above_every_partition_of_the_former_one(seen: dict[int, Position], bounds: dict[int, Bounds]) -> None:
    former = [position.running for position in seen.values() if position.topic_id]
    for found in plan("recreated", seen, bounds).values():
        if not any(reset.reason == "offset-out-of-range" for reset in found.resets):
            assert found.position.base >= max(former, default=0)


STEPS = st.tuples(st.sampled_from(["read", "read", "cut", "recreate"]), PARTITIONS, st.integers(0, 4))


@given(st.lists(STEPS, max_size=20))
def test_wherever_topics_begin_and_are_cut_running_offsets_tell_former_topics_from_the_present_one(
    steps: list[tuple[str, int, int]],
) -> None:
    """Each partition is reconciled when it is read, as by members of a group, so some of them stay at a former topic for a while."""
    topic, ends, seen, former, present = 0, dict[int, int](), dict[int, Position](), set[int](), set[int]()
    for step, partition, count in steps:
        if step == "recreate":
            topic, ends, former, present = topic + 1, {}, former | present, set()
        elif step == "cut":
            ends[partition] = min(ends.get(partition, 0), count)
        else:
            ends[partition] = ends.get(partition, 0) + count
            at = plan(f"topic {topic}", seen, {partition: Bounds(0, ends[partition])})[partition].position
            read = {at.base + offset for offset in range(at.next_offset, ends[partition])}
            assert all(running < at.numbering.topic_base for running in former)
            present |= read
            assert all(running >= at.numbering.topic_base for running in present)
            seen[partition] = replace(at, next_offset=ends[partition])


@given(IDS, POSITIONS, BOUNDS)
def test_offsets_that_nobody_will_read_always_leave_a_letter_that_no_event_has_the_place_of(
    topic_id: str, position: Position, there: Bounds
) -> None:
    found = plan(topic_id, {0: position}, {0: there})[0]
    without_id = position.topic_id is None
    recreated = position.next_offset > there.high if without_id else position.topic_id != topic_id
    skipped = (0 if recreated else position.next_offset) != found.position.next_offset
    letters = [reset.at for reset in found.resets if reset.at is not None]
    assert bool(letters) == skipped
    assert all(position.running <= at < found.position.running for at in letters)
    assert [reset.reason for reset in found.resets].count("topic-recreated") == recreated


def test_lag_counts_a_recreated_topic_from_its_beginning() -> None:
    seen = {0: Position(7, "one"), 1: Position(8, "two"), 2: Position(9)}
    assert current("two", seen) == {0: 0, 1: 8, 2: 9}


# in Postgres


@dataclass
class Topic:
    """One of the topics of a name, and its partitions as a consumer sees them; simulated, so that a test may cut it."""

    world: World
    topic_id: str
    inlets: list[Inlet]

    @classmethod
    def of(cls, world: World, topic_id: str, partitions: int = 1) -> Topic:
        return cls(world, topic_id, [Inlet(world, partition) for partition in range(partitions)])

    @property
    def bounds(self) -> dict[int, Bounds]:
        return {inlet.partition: Bounds(0, inlet.offset) for inlet in self.inlets}

    def reconcile(self) -> dict[int, Reconciled]:
        with self.world.session.transaction() as connection:
            name = topic_of(self.world.tenant)
            return reconcile(connection, name, self.topic_id, stored(connection, name), self.bounds)

    def land(self, inlet: Inlet, *records: Any) -> Landed:
        return self.land_batch(inlet.batch(*records))

    def land_batch(self, batch: Batch) -> Landed:
        with self.world.session.transaction() as connection:
            return land(connection, self.world.session.keys, batch, self.topic_id)


@pytest.fixture(autouse=True)
def _empty(world: World) -> None:
    _clear(world)


def _clear(world: World) -> None:
    world.clear()
    with world.session.transaction() as connection:
        connection.execute("DELETE FROM stream_position")


PUBLISHED = st.tuples(st.sampled_from(["a.md", "b.md"]), PARTITIONS, st.booleans())


@given(st.lists(st.lists(PUBLISHED, max_size=4), min_size=1, max_size=4))
@settings(max_examples=40)
def test_over_topics_made_anew_every_event_counts_once_and_the_last_one_published_stays(
    world: World, topics: list[list[tuple[str, int, bool]]]
) -> None:
    """Without sequences, and with a document that a recreated topic puts into another partition, as Kafka may."""
    _clear(world)
    last: dict[str, bytes | None] = {}
    known = set[str]()
    for number, published in enumerate(topics):
        topic = Topic.of(world, f"topic {number}", 3)
        topic.reconcile()
        home = {name: topic.inlets[partition] for name, partition, _ in reversed(published)}
        for position, (name, _, deletes) in enumerate(published):
            text = f"{number} {position}"
            event = home[name].delete(name) if deletes else home[name].upsert(name, text)
            assert topic.land(home[name], event).fates == Counter(["unknown-document" if deletes and name not in known else "landed"])
            known |= set() if deletes else {name}
            last[name] = None if deletes else text.encode()
    assert {name: world.document(name)["content"] for name in last} == last
    events = [event for published in topics for event in published]
    assert world.rows("SELECT count(*) AS events FROM event")[0]["events"] == len(events)
    assert len(world.rows("SELECT number FROM outcome")) == len(events)
    assert world.letters() == []


def test_numbered_events_are_fenced_across_recreated_topics(world: World) -> None:
    one = Topic.of(world, "one")
    one.land(one.inlets[0], one.inlets[0].upsert("a.md", "five", 5), one.inlets[0].delete("b.md", 3))
    two = Topic.of(world, "two")
    assert [reset.reason for reset in two.reconcile()[0].resets] == ["topic-recreated"]
    inlet = two.inlets[0]
    late = inlet.upsert("a.md", "four", 4), inlet.upsert("a.md", "five", 5), inlet.upsert("b.md", "two", 2)
    assert two.land(inlet, *late, inlet.upsert("a.md", "six", 6)).fates == Counter(superseded=2, unchanged=1, landed=1)
    assert (world.document("a.md")["content"], world.document("b.md")["deleted"]) == (b"six", True)


def test_an_outcome_has_the_topics_own_offset(world: World) -> None:
    for topic_id in ("one", "two"):
        topic = Topic.of(world, topic_id)
        topic.reconcile()
        topic.land(topic.inlets[0], topic.inlets[0].upsert("a.md", topic_id), topic.inlets[0].raw(b"a.md", b"not an event"))
    assert sorted(row["kafka_offset"] for row in world.rows("SELECT kafka_offset FROM outcome")) == [0, 0, 1, 1]
    assert sorted(row["kafka_offset"] for row in world.rows("SELECT kafka_offset FROM event")) == [0, 1, 2, 3]
    assert [letter["kafka_offset"] for letter in world.letters()] == [1, 3]
    assert world.document("a.md")["kafka_offset"] == world.document("a.md")["sequence"] == 2


def test_a_reference_without_a_digest_is_fetched_again_from_a_recreated_topic(world: World) -> None:
    keys = []
    for topic_id in ("one", "two"):
        topic = Topic.of(world, topic_id)
        topic.reconcile()
        topic.land(topic.inlets[0], topic.inlets[0].upsert("a.md", None, uri="https://x.example/a.md"))
        keys.append(world.document("a.md")["content_key"])
    assert keys[0] != keys[1]


def test_a_batch_of_a_former_topic_lands_nothing(world: World) -> None:
    one, two = Topic.of(world, "one"), Topic.of(world, "two")
    one.reconcile()
    late = one.inlets[0].batch(one.inlets[0].upsert("a.md", "former"))
    two.reconcile()
    before = world.everything()
    with pytest.raises(LostRace):
        one.land_batch(late)
    assert world.everything() == before
    assert two.land(two.inlets[0], two.inlets[0].upsert("a.md", "present")).fates == Counter(landed=1)


def test_bounds_that_are_older_than_the_position_move_nothing(world: World) -> None:
    topic = Topic.of(world, "one")
    inlet, name = topic.inlets[0], topic_of(world.tenant)
    topic.land(inlet, inlet.upsert("a.md", "one"))
    with world.session.transaction() as connection:
        seen, bounds = stored(connection, name), {0: Bounds(0, 0)}
    topic.land(inlet, inlet.upsert("a.md", "two"))
    before = world.everything()
    with pytest.raises(LostRace), world.session.transaction() as connection:
        reconcile(connection, name, "one", seen, bounds)
    assert world.everything() == before


def test_reconciling_an_unchanged_topic_writes_nothing(world: World) -> None:
    topic = Topic.of(world, "one", 2)
    topic.reconcile()
    topic.land(topic.inlets[0], topic.inlets[0].upsert("a.md", "one"))
    before = world.everything()
    assert [found.resets for found in topic.reconcile().values()] == [(), ()]
    assert world.everything() == before


def test_a_topic_that_was_cut_continues_at_its_end_and_later_events_are_new(world: World) -> None:
    topic = Topic.of(world, "one")
    inlet = topic.inlets[0]
    topic.land(inlet, inlet.upsert("a.md", "kept"), inlet.upsert("b.md", "cut off"), inlet.upsert("b.md", "cut off too"))
    inlet.offset = inlet.position = 1
    assert [reset.reason for reset in topic.reconcile()[0].resets] == ["offset-out-of-range"]
    assert topic.land(inlet, inlet.raw(b"c.md", b"not an event"), inlet.upsert("b.md", "again")).fates == {"dead-lettered": 1, "landed": 1}
    assert world.document("b.md")["content"] == b"again"
    assert [(letter["reason"], letter["resolved_at"]) for letter in world.letters()] == [
        ("offset-out-of-range", None),
        ("not-cloudevents", None),
    ]
    assert inlet.committed() == 3


# on Kafka


def land_all(app: Headrace, tenant: str) -> tuple[Landed, list[str]]:
    """Reconcile every partition and land all events; returns the reasons of resets too."""
    name, session = topic_of(tenant), app.session(tenant)
    with session.transaction() as connection:
        seen = stored(connection, name)
    topic_id = Topics(app.endpoints.kafka_client()).id_of(name)
    low, high = app.reader.low_watermarks([name]), app.reader.high_watermarks([name])
    with session.transaction() as connection:
        reconciled = reconcile(connection, name, topic_id, seen, {place[1]: Bounds(low[place], high[place]) for place in low})
    total = Landed()
    for batch in app.reader.read_batches({(name, p): found.position.next_offset for p, found in reconciled.items()}):
        with session.transaction() as connection:
            total.add(land(connection, session.keys, batch, topic_id))
    return total, [reset.reason for found in reconciled.values() for reset in found.resets]


def recreate(app: Headrace, tenant: str, partitions: int = 4) -> None:
    client, name, until = app.endpoints.kafka_client(), topic_of(tenant), monotonic() + 20
    topics = Topics(client)
    before = topics.ids([name])
    delete_topics(client, tenant)
    while topics.ids([name]) == before or not topics.ids([name]):
        assert monotonic() < until
        ensure_topics(client, tenant, partitions, 1)


def delete_before(app: Headrace, tenant: str, ends: dict[int, int]) -> None:
    partitions = [TopicPartition(topic_of(tenant), partition, offset) for partition, offset in ends.items()]
    admin = AdminClient(app.endpoints.kafka_client())
    for answer in admin.delete_records(partitions).values():
        answer.result(10)


def home(app: Headrace, tenant: str) -> int:
    """The partition of `page`."""
    with app.session(tenant).transaction() as connection:
        found = stored(connection, topic_of(tenant))
    return max(found, key=lambda partition: found[partition].running)


def test_a_topic_has_an_id_and_another_one_once_recreated_and_none_once_deleted(app: Headrace, acme: str) -> None:
    client, name = app.endpoints.kafka_client(), topic_of(acme)
    (before,) = Topics(client).ids([name]).values()
    recreate(app, acme)
    after = Topics(client).ids([name, "documents.nobody"])
    assert set(after) == {name}
    assert after[name] != before
    assert Topics(client).ids(["documents.nobody"]) == Topics(client).ids([]) == {}


@pytest.mark.parametrize("numbered", [False, True])
@pytest.mark.parametrize("partitions", [4, 2])
def test_events_of_a_recreated_topic_land_once_each_after_the_former_ones(
    app: Headrace, acme: str, numbered: bool, partitions: int
) -> None:
    world, sequences = World(app, acme), iter(range(1, 99))

    def publish_all(*texts: str) -> None:
        for text in texts:
            publish(app, acme, next(sequences) if numbered else None, page=text)

    publish_all("one", "two", "three")
    assert land_all(app, acme) == (_landed(world, 3), [])
    recreate(app, acme, partitions)
    publish_all("four")
    landed, resets = land_all(app, acme)
    assert (landed.fates, set(resets)) == (Counter(landed=1), {"topic-recreated"})
    assert world.document("page")["content"] == b"four"
    assert land_all(app, acme)[0].events == 0
    publish_all("five")
    assert land_all(app, acme) == (_landed(world, 1), [])
    assert world.document("page")["content"] == b"five"
    assert world.rows("SELECT count(*) AS n FROM event")[0]["n"] == len(world.rows("SELECT number FROM outcome")) == 5
    assert world.letters() == []


def _landed(world: World, events: int) -> Landed:
    return Landed(events, Counter(landed=events), Counter(), [world.key("page")])


def test_events_lost_to_retention_are_an_open_dead_letter_until_an_operator_dismisses_it(app: Headrace, acme: str) -> None:
    world = World(app, acme)
    publish(app, acme, None, page="one")
    land_all(app, acme)
    at = home(app, acme)
    publish(app, acme, None, page="two")
    publish(app, acme, None, page="three")
    publish(app, acme, None, page="four")
    delete_before(app, acme, {at: 3})
    landed, resets = land_all(app, acme)
    assert (landed.events, resets) == (1, ["events-lost-to-retention"])
    assert world.document("page")["content"] == b"four"
    assert land_all(app, acme) == (Landed(), [])
    with world.session.transaction() as connection:
        (loss,) = losses(connection)
    assert (loss["position"], loss["reason"]) == (f"{at}:1", "events-lost-to-retention")
    assert loss["detail"] == "offsets 1 to 2 were removed before they were read"
    assert [row["outcome"] for row in replay.dead_letters(app, acme)] == ["gone"]
    with world.session.transaction() as connection:
        assert [dismiss(connection, at, 1), dismiss(connection, at, 1), dismiss(connection, at, 0)] == [1, 0, 0]
        assert losses(connection) == []
    assert dead_letters.open_letters(app, acme) == []


def test_a_recreated_topic_that_lost_its_first_events_reports_both(app: Headrace, acme: str) -> None:
    publish(app, acme, None, page="one")
    land_all(app, acme)
    at = home(app, acme)
    recreate(app, acme)
    publish(app, acme, None, page="two")
    publish(app, acme, None, page="three")
    delete_before(app, acme, {at: 1})
    landed, resets = land_all(app, acme)
    assert (landed.events, Counter(resets)) == (1, Counter({"topic-recreated": 4, "events-lost-to-retention": 1}))
    assert World(app, acme).document("page")["content"] == b"three"


@pytest.fixture
def refused_in_the_former_topic(app: Headrace, acme: str) -> str:
    """A tenant with a dead letter of a former topic, and an event of the recreated topic at the same offset."""
    publish(app, acme, None, page="one")
    publish(app, acme, None, source="/other", page="two")
    land_all(app, acme)
    recreate(app, acme)
    publish(app, acme, None, page="three")
    publish(app, acme, None, page="four")
    return acme


def test_a_dead_letter_of_a_former_topic_is_gone_and_another_event_has_its_offset(app: Headrace, refused_in_the_former_topic: str) -> None:
    tenant = refused_in_the_former_topic
    world = World(app, tenant)
    assert [row["outcome"] for row in replay.dead_letters(app, tenant)] == ["gone"]
    land_all(app, tenant)
    before = world.everything()
    assert [row["outcome"] for row in replay.dead_letters(app, tenant)] == ["gone"]
    assert world.everything() == before


def test_a_recreated_topic_is_replayed_once_it_has_landed_and_changes_nothing(app: Headrace, refused_in_the_former_topic: str) -> None:
    tenant = refused_in_the_former_topic
    world = World(app, tenant)
    before = world.everything()
    with pytest.raises(HeadraceError) as refused:
        replay.topic(app, tenant)
    assert refused.value.reason == "topic-recreated"
    assert world.everything() == before
    land_all(app, tenant)
    before = world.everything()
    received = min(row["received_at"] for row in world.rows("SELECT received_at FROM event"))
    for where in ({}, {"since": received}):
        assert _events(replay.topic(app, tenant, **where)) == Counter(events=2, unchanged=1, superseded=1)
        assert world.everything() == before


def _events(replayed: Sequence[dict[str, Any]]) -> Counter[str]:
    return sum((Counter(row["fates"] | {"events": row["events"]}) for row in replayed), Counter[str]())
