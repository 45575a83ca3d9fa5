"""A topic that is deleted and made anew, cut, or emptied before it was read: never silence, never a standstill, no late event on top."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
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
from events.kafka.reader import delete_topics, ensure_topics
from events.kafka.topics import Topics
from events.landing import Landed, land
from events.positions import Bounds, Position, Settled, current, dismiss, judge, known, losses, settle
from events.publish import Publisher
from pipelines.app import Headrace
from pipelines.operations import explain, replay
from tests.tenant_fixture import Inlet, World

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


# what is made of a position


@given(IDS, st.dictionaries(PARTITIONS, POSITIONS), st.dictionaries(PARTITIONS, BOUNDS))
def test_a_settled_position_can_be_read_from_and_no_running_offset_goes_back(
    topic_id: str, seen: dict[int, Position], bounds: dict[int, Bounds]
) -> None:
    settled = judge(topic_id, seen, bounds)
    assert settled.keys() == bounds.keys()
    for partition, found in settled.items():
        at = found.position
        assert bounds[partition].low <= at.next_offset <= bounds[partition].high
        assert at.base_from <= at.next_offset
        assert at.topic_id == topic_id
        assert at.running >= seen.get(partition, Position()).running
    after = seen | {partition: found.position for partition, found in settled.items()}
    assert judge(topic_id, after, bounds) == {partition: Settled(after[partition]) for partition in bounds}


@given(st.dictionaries(PARTITIONS, POSITIONS, min_size=1), st.dictionaries(PARTITIONS, BOUNDS, min_size=1))
def test_a_topic_that_was_made_anew_begins_above_every_partition_of_the_former(
    seen: dict[int, Position], bounds: dict[int, Bounds]
) -> None:
    former = [position.running for position in seen.values() if position.topic_id]
    for found in judge("anew", seen, bounds).values():
        if not any(happening.reason == "offset-out-of-range" for happening in found.happened):
            assert found.position.base >= max(former, default=0)


@given(IDS, POSITIONS, BOUNDS)
def test_offsets_that_nobody_will_read_always_leave_a_letter_that_no_event_has_the_place_of(
    topic_id: str, position: Position, there: Bounds
) -> None:
    found = judge(topic_id, {0: position}, {0: there})[0]
    unasked = position.topic_id is None
    again = position.next_offset > there.high if unasked else position.topic_id != topic_id
    skipped = (0 if again else position.next_offset) != found.position.next_offset
    letters = [happening.at for happening in found.happened if happening.at is not None]
    assert bool(letters) == skipped
    assert all(position.running <= at < found.position.running for at in letters)
    assert [h.reason for h in found.happened].count("topic-recreated") == again


def test_who_only_counts_counts_a_topic_that_was_made_anew_from_its_beginning() -> None:
    seen = {0: Position(7, "one"), 1: Position(8, "two"), 2: Position(9)}
    assert current("two", seen) == {0: 0, 1: 8, 2: 9}


# in Postgres


@dataclass
class Topic:
    """One of the topics of a name, and its partitions as a consumer sees them; kept beside Kafka, so that a test may cut it."""

    world: World
    topic_id: str
    inlets: list[Inlet]

    @classmethod
    def of(cls, world: World, topic_id: str, partitions: int = 1) -> Topic:
        return cls(world, topic_id, [Inlet(world, partition) for partition in range(partitions)])

    @property
    def bounds(self) -> dict[int, Bounds]:
        return {inlet.partition: Bounds(0, inlet.offset) for inlet in self.inlets}

    def settle(self) -> dict[int, Settled]:
        with self.world.session.transaction() as connection:
            name = topic_of(self.world.tenant)
            return settle(connection, name, self.topic_id, known(connection, name), self.bounds)

    def land(self, inlet: Inlet, *records: Any) -> Landed:
        return self.land_batch(inlet.batch(*records))

    def land_batch(self, batch: Batch) -> Landed:
        with self.world.session.transaction() as connection:
            return land(connection, self.world.session.keys, batch, self.topic_id)


@pytest.fixture(autouse=True)
def _nothing_there(world: World) -> None:
    _forget(world)


def _forget(world: World) -> None:
    world.clear()
    with world.session.transaction() as connection:
        connection.execute("DELETE FROM stream_position")


SAID = st.tuples(st.sampled_from(["a.md", "b.md"]), PARTITIONS, st.booleans())


@given(st.lists(st.lists(SAID, max_size=4), min_size=1, max_size=4))
@settings(max_examples=40)
def test_over_topics_made_anew_every_event_counts_once_and_the_last_one_published_stays(
    world: World, topics: list[list[tuple[str, int, bool]]]
) -> None:
    """Without sequences, and with a document that comes to another partition in another topic: as Kafka assigns it there."""
    _forget(world)
    last: dict[str, bytes | None] = {}
    for number, said in enumerate(topics):
        topic = Topic.of(world, f"topic {number}", 3)
        topic.settle()
        home = {name: topic.inlets[partition] for name, partition, _ in reversed(said)}
        for position, (name, _, deletes) in enumerate(said):
            text = f"{number} {position}"
            event = home[name].delete(name) if deletes else home[name].upsert(name, text)
            assert topic.land(home[name], event).fates == Counter(landed=1)
            last[name] = None if deletes else text.encode()
    assert {name: world.document(name)["content"] for name in last} == last
    events = [event for said in topics for event in said]
    assert world.rows("SELECT count(*) AS events FROM event")[0]["events"] == len(events)
    assert len(world.rows("SELECT number FROM outcome")) == len(events)
    assert world.letters() == []


def test_numbered_events_are_fenced_over_topics_made_anew(world: World) -> None:
    one = Topic.of(world, "one")
    one.land(one.inlets[0], one.inlets[0].upsert("a.md", "five", 5), one.inlets[0].delete("b.md", 3))
    two = Topic.of(world, "two")
    assert [happening.reason for happening in two.settle()[0].happened] == ["topic-recreated"]
    inlet = two.inlets[0]
    late = inlet.upsert("a.md", "four", 4), inlet.upsert("a.md", "five", 5), inlet.upsert("b.md", "two", 2)
    assert two.land(inlet, *late, inlet.upsert("a.md", "six", 6)).fates == Counter(superseded=2, unchanged=1, landed=1)
    assert (world.document("a.md")["content"], world.document("b.md")["deleted"]) == (b"six", True)


def test_what_is_told_of_an_event_has_the_topics_own_offset(world: World) -> None:
    for topic_id in ("one", "two"):
        topic = Topic.of(world, topic_id)
        topic.settle()
        topic.land(topic.inlets[0], topic.inlets[0].upsert("a.md", topic_id), topic.inlets[0].raw(b"a.md", b"not an event"))
    assert sorted(row["kafka_offset"] for row in world.rows("SELECT kafka_offset FROM outcome")) == [0, 0, 1, 1]
    assert sorted(row["kafka_offset"] for row in world.rows("SELECT kafka_offset FROM event")) == [0, 1, 2, 3]
    assert [letter["kafka_offset"] for letter in world.letters()] == [1, 3]
    assert world.document("a.md")["kafka_offset"] == world.document("a.md")["sequence"] == 2


def test_a_reference_without_a_digest_is_fetched_anew_from_a_topic_made_anew(world: World) -> None:
    keys = []
    for topic_id in ("one", "two"):
        topic = Topic.of(world, topic_id)
        topic.settle()
        topic.land(topic.inlets[0], topic.inlets[0].upsert("a.md", None, uri="https://x.example/a.md"))
        keys.append(world.document("a.md")["content_key"])
    assert keys[0] != keys[1]


def test_a_batch_of_a_former_topic_lands_nothing(world: World) -> None:
    one, two = Topic.of(world, "one"), Topic.of(world, "two")
    one.settle()
    late = one.inlets[0].batch(one.inlets[0].upsert("a.md", "former"))
    two.settle()
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
        seen, bounds = known(connection, name), {0: Bounds(0, 0)}
    topic.land(inlet, inlet.upsert("a.md", "two"))
    before = world.everything()
    with pytest.raises(LostRace), world.session.transaction() as connection:
        settle(connection, name, "one", seen, bounds)
    assert world.everything() == before


def test_settling_what_is_as_it_was_writes_nothing(world: World) -> None:
    topic = Topic.of(world, "one", 2)
    topic.settle()
    topic.land(topic.inlets[0], topic.inlets[0].upsert("a.md", "one"))
    before = world.everything()
    assert [found.happened for found in topic.settle().values()] == [(), ()]
    assert world.everything() == before


def test_a_topic_that_was_cut_goes_on_at_its_end_and_what_comes_then_is_new(world: World) -> None:
    topic = Topic.of(world, "one")
    inlet = topic.inlets[0]
    topic.land(inlet, inlet.upsert("a.md", "kept"), inlet.upsert("b.md", "cut off"), inlet.upsert("b.md", "cut off too"))
    inlet.offset = inlet.position = 1
    assert [happening.reason for happening in topic.settle()[0].happened] == ["offset-out-of-range"]
    assert topic.land(inlet, inlet.raw(b"c.md", b"not an event"), inlet.upsert("b.md", "anew")).fates == {"dead-lettered": 1, "landed": 1}
    assert world.document("b.md")["content"] == b"anew"
    assert [(letter["reason"], letter["resolved_at"]) for letter in world.letters()] == [
        ("offset-out-of-range", None),
        ("not-cloudevents", None),
    ]
    assert inlet.committed() == 3


# on Kafka


def publish(app: Headrace, tenant: str, *texts: str, name: str = "page", sequence: int | None = None, source: str = "/wiki") -> None:
    with Publisher(app.endpoints.kafka_client(), tenant, source) as publisher:
        for text in texts:
            publisher.upsert(name, content=text, media_type="text/markdown", sequence=sequence)


def take(app: Headrace, tenant: str) -> tuple[Landed, list[str]]:
    """Settle every partition, and land what there is; gives the reasons of what happened too."""
    name, session = topic_of(tenant), app.session(tenant)
    with session.transaction() as connection:
        seen = known(connection, name)
    topic_id = Topics(app.endpoints.kafka_client()).id_of(name)
    low, high = app.reader.low_watermarks([name]), app.reader.high_watermarks([name])
    with session.transaction() as connection:
        settled = settle(connection, name, topic_id, seen, {place[1]: Bounds(low[place], high[place]) for place in low})
    total = Landed()
    for batch in app.reader.read_batches({(name, p): found.position.next_offset for p, found in settled.items()}):
        with session.transaction() as connection:
            total.add(land(connection, session.keys, batch, topic_id))
    return total, [happening.reason for found in settled.values() for happening in found.happened]


def make_anew(app: Headrace, tenant: str, partitions: int = 4) -> None:
    client, name, until = app.endpoints.kafka_client(), topic_of(tenant), monotonic() + 20
    topics = Topics(client)
    before = topics.ids([name])
    delete_topics(client, tenant)
    while topics.ids([name]) == before or not topics.ids([name]):
        assert monotonic() < until
        ensure_topics(client, tenant, partitions, 1)


def remove_before(app: Headrace, tenant: str, ends: dict[int, int]) -> None:
    wanted = [TopicPartition(topic_of(tenant), partition, offset) for partition, offset in ends.items()]
    admin = AdminClient(app.endpoints.kafka_client())
    for answer in admin.delete_records(wanted).values():
        answer.result(10)


def home(app: Headrace, tenant: str) -> int:
    """The partition that the events of `page` are in."""
    with app.session(tenant).transaction() as connection:
        found = known(connection, topic_of(tenant))
    return max(found, key=lambda partition: found[partition].running)


def test_a_topic_has_an_id_and_another_one_when_it_is_made_anew_and_none_when_it_is_gone(app: Headrace, acme: str) -> None:
    client, name = app.endpoints.kafka_client(), topic_of(acme)
    (before,) = Topics(client).ids([name]).values()
    make_anew(app, acme)
    after = Topics(client).ids([name, "documents.nobody"])
    assert set(after) == {name}
    assert after[name] != before
    assert Topics(client).ids(["documents.nobody"]) == Topics(client).ids([]) == {}


@pytest.mark.parametrize("numbered", [False, True])
@pytest.mark.parametrize("partitions", [4, 2])
def test_events_of_a_topic_that_was_made_anew_land_each_once_on_top_of_the_former_ones(
    app: Headrace, acme: str, numbered: bool, partitions: int
) -> None:
    world, sequences = World(app, acme), iter(range(1, 99))

    def say(*texts: str) -> None:
        for text in texts:
            publish(app, acme, text, sequence=next(sequences) if numbered else None)

    say("one", "two", "three")
    assert take(app, acme) == (_landed(world, 3), [])
    make_anew(app, acme, partitions)
    say("four")
    landed, happened = take(app, acme)
    assert (landed.fates, set(happened)) == (Counter(landed=1), {"topic-recreated"})
    assert world.document("page")["content"] == b"four"
    assert take(app, acme)[0].events == 0
    say("five")
    assert take(app, acme) == (_landed(world, 1), [])
    assert world.document("page")["content"] == b"five"
    assert world.rows("SELECT count(*) AS n FROM event")[0]["n"] == len(world.rows("SELECT number FROM outcome")) == 5
    assert world.letters() == []


def _landed(world: World, events: int) -> Landed:
    return Landed(events, Counter(landed=events), Counter(), [world.key("page")])


def test_what_retention_removed_unread_is_an_open_letter_until_an_operator_dismisses_it(app: Headrace, acme: str) -> None:
    world = World(app, acme)
    publish(app, acme, "one")
    take(app, acme)
    at = home(app, acme)
    publish(app, acme, "two", "three", "four")
    remove_before(app, acme, {at: 3})
    landed, happened = take(app, acme)
    assert (landed.events, happened) == (1, ["events-lost-to-retention"])
    assert world.document("page")["content"] == b"four"
    assert take(app, acme) == (Landed(), [])
    with world.session.transaction() as connection:
        (loss,) = losses(connection)
    assert (loss["position"], loss["reason"]) == (f"{at}:1", "events-lost-to-retention")
    assert loss["detail"] == "offsets 1 to 2 were removed before they were read"
    assert [row["outcome"] for row in replay.dead_letters(app, acme)] == ["gone"]
    with world.session.transaction() as connection:
        assert [dismiss(connection, at, 1), dismiss(connection, at, 1), dismiss(connection, at, 0)] == [1, 0, 0]
        assert losses(connection) == []
    assert explain.letters(app, acme) == []


def test_a_topic_made_anew_that_lost_its_first_events_says_both(app: Headrace, acme: str) -> None:
    publish(app, acme, "one")
    take(app, acme)
    at = home(app, acme)
    make_anew(app, acme)
    publish(app, acme, "two", "three")
    remove_before(app, acme, {at: 1})
    landed, happened = take(app, acme)
    assert (landed.events, Counter(happened)) == (1, Counter({"topic-recreated": 4, "events-lost-to-retention": 1}))
    assert World(app, acme).document("page")["content"] == b"three"


@pytest.fixture
def refused_in_the_former_topic(app: Headrace, acme: str) -> str:
    """An event of a former topic is a dead letter, and one of the new topic stands at its offset."""
    publish(app, acme, "one")
    publish(app, acme, "two", source="/other")
    take(app, acme)
    make_anew(app, acme)
    publish(app, acme, "three", "four")
    return acme


def test_a_letter_of_a_former_topic_is_gone_and_the_event_at_its_offset_is_another(app: Headrace, refused_in_the_former_topic: str) -> None:
    tenant = refused_in_the_former_topic
    world = World(app, tenant)
    assert [row["outcome"] for row in replay.dead_letters(app, tenant)] == ["gone"]
    take(app, tenant)
    before = world.everything()
    assert [row["outcome"] for row in replay.dead_letters(app, tenant)] == ["gone"]
    assert world.everything() == before


def test_a_topic_made_anew_is_replayed_once_it_has_landed_and_changes_nothing(app: Headrace, refused_in_the_former_topic: str) -> None:
    tenant = refused_in_the_former_topic
    world = World(app, tenant)
    before = world.everything()
    with pytest.raises(HeadraceError) as refused:
        replay.topic(app, tenant)
    assert refused.value.reason == "topic-recreated"
    assert world.everything() == before
    take(app, tenant)
    before = world.everything()
    received = min(row["received_at"] for row in world.rows("SELECT received_at FROM event"))
    for where in ({}, {"since": received}):
        assert _events(replay.topic(app, tenant, **where)) == Counter(events=2, unchanged=1, superseded=1)
        assert world.everything() == before


def _events(replayed: Sequence[dict[str, Any]]) -> Counter[str]:
    return sum((Counter(row["fates"] | {"events": row["events"]}) for row in replayed), Counter[str]())
