"""Members of the consumer group on the real broker: assignment, positions, and that joining, leaving and dying lose nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from time import monotonic, sleep
from typing import Any

import pytest
from confluent_kafka import Producer

from core.config import Endpoints
from events.contract import topic_of
from events.kafka.batches import Batch, Place
from events.kafka.group import Member
from events.kafka.topics import delete_topics, ensure_topics

PARTITIONS = 4


class Readers:
    """Members that share positions, as the database does: a batch is accepted if it starts at its partition's position."""

    def __init__(self, client: dict[str, Any], topics: list[str]) -> None:
        self.client, self.topics = client, topics
        self.positions: dict[Place, int] = {}
        self.accepted: list[bytes] = []
        self.members: list[Member] = []
        self._closing = ExitStack()

    def join(self) -> Member:
        member = self._closing.enter_context(Member(self.client, f"m{len(self.members)}", max_records=8, max_bytes=1 << 20))
        member.subscribe(self.topics)
        self.members.append(member)
        return member

    def leave(self, member: Member) -> None:
        self.members.remove(member)
        member.__exit__(None, None, None)

    def poll(self) -> None:
        for member in self.members:
            member.open({place: self.positions.get(place, 0) for place in member.unopened})
            for batch in member.poll(0.05):
                self._accept(member, batch)

    def _accept(self, member: Member, batch: Batch) -> None:
        place = (batch.topic, batch.partition)
        if self.positions.get(place, 0) != batch.start:
            member.discard(place)
            return
        self.positions[place] = batch.end
        self.accepted.extend(record.value or b"" for record in batch.records)

    def until(self, reached: Callable[[], Any]) -> None:
        deadline = monotonic() + 30
        while not reached():
            assert monotonic() < deadline
            self.poll()

    def partition_counts(self) -> list[int]:
        """The number of partitions that each member reads."""
        return [len(member.places) for member in self.members]

    def close(self) -> None:
        self._closing.close()


@pytest.fixture
def client(endpoints: Endpoints) -> dict[str, Any]:
    return endpoints.kafka_client()


@pytest.fixture
def topics(client: dict[str, Any], tenant: str) -> Iterator[list[str]]:
    names = [f"{tenant}{letter}" for letter in "xy"]
    for name in names:
        ensure_topics(client, name, PARTITIONS, 1)
    yield [topic_of(name) for name in names]
    for name in names:
        delete_topics(client, name)


@pytest.fixture
def readers(client: dict[str, Any], topics: list[str]) -> Iterator[Readers]:
    readers = Readers(client, topics)
    yield readers
    readers.close()


@pytest.fixture
def produce(client: dict[str, Any]) -> Callable[..., None]:
    producer = Producer(client)

    def send(topic: str, *values: bytes) -> None:
        for number, value in enumerate(values):
            producer.produce(topic, value, partition=number % PARTITIONS)
        assert producer.flush(10) == 0

    return send


def numbers(since: int, until: int) -> list[bytes]:
    return [str(number).encode() for number in range(since, until)]


def test_members_that_join_and_leave_share_the_partitions_and_each_record_is_taken_once(
    readers: Readers, produce: Callable[..., None]
) -> None:
    first = readers.join()
    produce(readers.topics[0], *numbers(0, 40))
    readers.until(lambda: len(readers.accepted) == 40)
    second = readers.join()
    readers.until(lambda: readers.partition_counts() == [PARTITIONS, PARTITIONS])
    produce(readers.topics[1], *numbers(40, 80))
    readers.until(lambda: len(readers.accepted) == 80)
    readers.leave(first)
    readers.until(lambda: readers.partition_counts() == [2 * PARTITIONS])
    produce(readers.topics[0], *numbers(80, 120))
    readers.until(lambda: len(readers.accepted) == 120)
    assert sorted(readers.accepted) == sorted(numbers(0, 120))
    assert second.lag() == {(topic, partition): 0 for topic in readers.topics for partition in range(PARTITIONS)}


def test_a_member_that_was_away_for_too_long_joins_again(readers: Readers, client: dict[str, Any], produce: Callable[..., None]) -> None:
    readers.client = client | {"max.poll.interval.ms": 1000}
    member = readers.join()
    readers.until(lambda: readers.partition_counts() == [2 * PARTITIONS])
    sleep(2.5)  # as a landing that waits for Postgres: the client leaves the group meanwhile
    produce(readers.topics[0], *numbers(0, 8))
    readers.until(lambda: len(readers.accepted) == 8)
    assert sorted(readers.accepted) == sorted(numbers(0, 8))
    assert len(member.places) == 2 * PARTITIONS


def test_topics_join_and_leave_without_a_restart(readers: Readers, produce: Callable[..., None]) -> None:
    member = readers.join()
    member.subscribe(readers.topics[:1])
    readers.until(lambda: {topic for topic, _ in member.places} == {readers.topics[0]})
    produce(readers.topics[1], *numbers(0, 4))
    member.subscribe(readers.topics)
    readers.until(lambda: len(readers.accepted) == 4)
    member.subscribe(readers.topics[1:])
    readers.until(lambda: {topic for topic, _ in member.places} == {readers.topics[1]})
    member.subscribe([])
    readers.until(lambda: not member.places)


def test_a_paused_topic_is_not_read_while_others_are_and_all_of_it_is_read_once_resumed(
    readers: Readers, produce: Callable[..., None]
) -> None:
    paused, other = readers.topics
    member = readers.join()
    readers.until(lambda: len(member.places) == 2 * PARTITIONS)
    member.pause({paused})
    produce(paused, *numbers(0, 20))
    produce(other, *numbers(20, 40))
    readers.until(lambda: len(readers.accepted) >= 20)
    for _ in range(10):
        readers.poll()
    assert sorted(readers.accepted) == sorted(numbers(20, 40))
    member.pause(())
    readers.until(lambda: len(readers.accepted) == 40)
    assert sorted(readers.accepted) == sorted(numbers(0, 40))


def test_a_discarded_partition_is_read_again_from_the_position_that_it_is_opened_at(readers: Readers, produce: Callable[..., None]) -> None:
    topic = readers.topics[0]
    member = readers.join()
    produce(topic, b"0", b"", b"", b"", b"1")
    readers.until(lambda: len(readers.accepted) == 5)
    readers.positions[topic, 0] = 1
    member.discard((topic, 0))
    assert (topic, 0) in member.unopened
    readers.until(lambda: len(readers.accepted) == 6)
    assert readers.accepted[-1] == b"1"
