"""Replay retries dead letters and lands a topic again; what has not changed stays as it is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Thread
from time import sleep
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from core.config import Settings
from core.errors import HeadraceError
from events.contract import DELETE, UPSERT, KafkaRecord, topic_of
from events.landing import Landed, land
from events.publish import Publisher
from events.replay import reread
from pipelines import documents
from pipelines.app import Headrace
from pipelines.governance import erasure
from pipelines.operations import dead_letters, replay
from pipelines.operations.lag import lag
from pipelines.operations.replay import Selection
from tests.tenant_fixture import STRUCTURED, Inlet, World, keep_publishers_timestamps, publish, rows, verdict

PAGE = "# Seals\n\nThe shaft seal of the {} is inspected once a year.\n"
CORRUPT = b"PK\x03\x04 cut off"


def forget_owners(app: Headrace, tenant: str) -> None:
    """Remove the documents' owners: an event that was refused for its source is then the next event."""
    with app.session(tenant).transaction() as connection:
        connection.execute("UPDATE document SET source_key = ''")


def event(name: str, sequence: int) -> dict[str, Any]:
    data = {"content": f"{name} {sequence}", "sequence": sequence}
    return {"specversion": "1.0", "id": f"{name}@{sequence}", "source": "/wiki", "type": UPSERT, "subject": name, "data": data}


def write(app: Headrace, tenant: str, whole: dict[str, Any], at_ms: int) -> None:
    """Write an event to partition 2, with this time of publication."""
    keep_publishers_timestamps(app, tenant)
    producer = Producer(app.endpoints.kafka_client())
    value, key = json.dumps(whole).encode(), whole["subject"].encode()
    producer.produce(topic_of(tenant), value, key, 2, headers=list(STRUCTURED), timestamp=at_ms)
    assert producer.flush(10) == 0


def summed(replayed: Sequence[dict[str, Any]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for row in replayed:
        total.update(row["fates"] | {"events": row["events"], "removed": row["removed"]})
    return total


# dead letters


def test_a_refused_event_is_refused_again_until_what_it_met_has_changed(app: Headrace, acme: str) -> None:
    publish(app, acme, 1, page=PAGE.format("pump"))
    publish(app, acme, 2, source="/other", page=PAGE.format("turbine"))
    app.land(acme)
    (letter,) = dead_letters.open_letters(app, acme)
    assert letter.reason == "source-mismatch"
    expected = {"position": letter.position, "stage": "land", "reason": "source-mismatch", "outcome": "refused"}
    assert replay.dead_letters(app, acme) == [expected]
    (again,) = dead_letters.open_letters(app, acme)
    assert again.attempts == 2
    forget_owners(app, acme)
    assert [row["outcome"] for row in replay.dead_letters(app, acme, Selection((letter.position,)))] == ["landed"]
    assert dead_letters.open_letters(app, acme) == []
    assert rows(app, acme, "SELECT sequence FROM document") == [{"sequence": 2}]


def test_a_failed_stage_is_retried_with_the_documents_present_state(app: Headrace, acme: str) -> None:
    publish(app, acme, 1, page=CORRUPT)
    app.ingest(acme)
    publish(app, acme, 2, page=CORRUPT + b", otherwise")
    app.ingest(acme)
    first, second = sorted(letter.position for letter in dead_letters.open_letters(app, acme))
    publish(app, acme, 3, page=PAGE.format("pump"))
    app.land(acme)
    assert [row["outcome"] for row in replay.dead_letters(app, acme, Selection((first,)))] == ["stale"]
    app.ingest(acme)
    assert dead_letters.open_letters(app, acme) == []
    assert verdict(app, acme, "page") == "searchable"
    assert {letter.resolved_at is None for position in (first, second) for letter in dead_letters.at(app, acme, position)} == {False}


def test_replaying_a_failure_that_persists_counts_another_attempt(app: Headrace, acme: str) -> None:
    publish(app, acme, 1, page=CORRUPT)
    app.ingest(acme)
    assert [row["outcome"] for row in replay.dead_letters(app, acme)] == ["stale"]
    _, reports = app.ingest(acme)
    assert reports["parse"].failed == 1
    assert [letter.attempts for letter in dead_letters.open_letters(app, acme)] == [2]


@pytest.mark.parametrize(("position", "reason"), [("9:9", "unknown-dead-letter"), ("x", "bad-position"), ("1:2:3", "bad-position")])
def test_a_position_without_a_dead_letter_replays_nothing(app: Headrace, acme: str, position: str, reason: str) -> None:
    publish(app, acme, 1, page=CORRUPT)
    app.ingest(acme)
    (letter,) = dead_letters.open_letters(app, acme)
    with pytest.raises(HeadraceError) as refused:
        replay.dead_letters(app, acme, Selection((letter.position, position)))
    assert refused.value.reason == reason
    assert rows(app, acme, "SELECT status FROM stage_record") == [{"status": "failed"}]


def test_an_event_that_kafka_no_longer_has_is_gone_and_its_dead_letter_stays(app: Headrace, acme: str) -> None:
    publish(app, acme, 1, page=PAGE.format("pump"))
    publish(app, acme, 2, source="/other", page=PAGE.format("pump"))
    app.land(acme)
    with app.session(acme).transaction() as connection:
        connection.execute("UPDATE dead_letter SET kafka_offset = 5000")
    assert [row["outcome"] for row in replay.dead_letters(app, acme)] == ["gone"]
    assert len(dead_letters.open_letters(app, acme)) == 1


def test_dead_letters_are_chosen_by_reason_document_and_time(app: Headrace, acme: str) -> None:
    publish(app, acme, 1, page=CORRUPT, other=CORRUPT)
    publish(app, acme, 2, source="/other", page=PAGE.format("pump"))
    app.ingest(acme)
    failed = {letter.position: letter.last_at for letter in dead_letters.open_letters(app, acme)}
    now = max(failed.values()) + timedelta(seconds=1)

    def found(**fields: Any) -> list[str]:
        return sorted(row["reason"] for row in replay.dead_letters(app, acme, Selection(**fields)))

    assert found(reason="source-mismatch") == ["source-mismatch"]
    assert found(document="other") == ["corrupt-document"]
    assert found(document=documents.find_document(app, acme, "page")) == ["corrupt-document", "source-mismatch"]
    assert found(document="page", reason="corrupt-document", until=now) == ["corrupt-document"]
    assert len(found(until=now)) == 3
    assert found(until=min(failed.values())) == found(since=now + timedelta(hours=1)) == found(reason="no-such-reason") == []
    with pytest.raises(HeadraceError, match="unknown-document"):
        found(document="nobody")


# a topic


@pytest.mark.parametrize("append_times", [True, False])
def test_documents_that_came_by_two_partitions_are_those_appended_last_or_refused_and_so_again_in_a_replay(
    app: Headrace, acme: str, append_times: bool
) -> None:
    """Clients with two partitioners, and no sequences; the partition with the newer events is read first."""
    if not append_times:
        keep_publishers_timestamps(app, acme)
    producer = Producer(app.endpoints.kafka_client())
    for partition, name, deletes in ((2, "a", False), (2, "b", False), (2, "b", False), (1, "a", False), (1, "b", True)):
        data = {} if deletes else {"data": {"content": f"{name} by {partition}"}}
        kind = DELETE if deletes else UPSERT
        event = {"specversion": "1.0", "id": name, "source": "/wiki", "type": kind, "subject": name, **data}
        producer.produce(topic_of(acme), json.dumps(event).encode(), name.encode(), partition, headers=list(STRUCTURED))
        assert producer.flush(10) == 0
        sleep(0.002)  # the broker's clock counts milliseconds
    landed = app.land(acme)
    documents = "SELECT document, revision, deleted, kafka_partition, published FROM document ORDER BY document"
    before = rows(app, acme, documents)
    if append_times:
        assert {(row["deleted"], row["kafka_partition"]) for row in before} == {(False, 1), (True, 1)}
    assert set(landed.reasons) == (set() if append_times else {"partition-changed"})
    again = replay.topic(app, acme)
    assert sum((Counter(row["reasons"]) for row in again), Counter()) == landed.reasons
    assert summed(again)["landed"] == 0
    assert rows(app, acme, documents) == before


def test_replaying_a_whole_topic_changes_nothing_and_embeds_nothing(app: Headrace, acme: str) -> None:
    world = World(app, acme)
    publish(app, acme, 1, page=PAGE.format("pump"), gone=PAGE.format("mill"), broken=CORRUPT)
    publish(app, acme, 2, page=PAGE.format("turbine"))
    publish(app, acme, 2, source="/other", page=PAGE.format("pump"))
    with Publisher(app.endpoints.kafka_client(), acme, "/wiki") as publisher:
        publisher.delete("gone", sequence=2)
        publisher._producer.produce(topic_of(acme), b"not an event", b"page")
    app.ingest(acme)
    before = world.everything()
    replayed = summed(replay.topic(app, acme))
    assert replayed == Counter({"events": 7, "removed": 0, "unchanged": 3, "superseded": 2, "dead-lettered": 2})
    assert world.everything() == before
    landed, reports = app.ingest(acme)
    assert landed.events == 0
    assert [report.moved for report in reports.values()] == [0] * 7
    assert reports["embed"].tally["embedded"] == 0
    assert world.everything() == before


def test_a_refused_event_lands_once_nothing_refuses_it_and_resolves_its_dead_letter(app: Headrace, acme: str) -> None:
    publish(app, acme, 1, page=PAGE.format("pump"), other=PAGE.format("mill"))
    publish(app, acme, 2, source="/other", page=PAGE.format("turbine"))
    app.land(acme)
    assert summed(replay.topic(app, acme))["dead-lettered"] == 1
    assert [letter.attempts for letter in dead_letters.open_letters(app, acme)] == [1]
    forget_owners(app, acme)
    assert summed(replay.topic(app, acme))["landed"] == 1
    assert dead_letters.open_letters(app, acme) == []
    assert sorted(row["sequence"] for row in rows(app, acme, "SELECT sequence FROM document")) == [1, 2]
    again = World(app, acme).everything()
    assert summed(replay.topic(app, acme))["unchanged"] == 2
    assert World(app, acme).everything() == again


def test_a_topic_is_read_again_from_an_offset_of_one_partition_and_from_a_time(app: Headrace, acme: str) -> None:
    for second in range(4):
        write(app, acme, event("page", second), at_ms=1_700_000_000_000 + 1000 * second)
    app.land(acme)
    started = datetime.fromtimestamp(1_700_000_000, UTC)

    def events(**where: Any) -> int:
        return summed(replay.topic(app, acme, **where))["events"]

    assert [events(from_offset=first, partition=2) for first in (0, 1, 4, 99)] == [4, 3, 0, 0]
    assert (events(from_offset=3), events(partition=1)) == (1, 0)
    assert [events(since=started + timedelta(seconds=seconds)) for seconds in (-9, 0, 0.5, 3, 4)] == [4, 4, 3, 1, 0]
    with pytest.raises(HeadraceError, match="bad-position"):
        replay.topic(app, acme, partition=4)


def test_what_has_not_landed_is_not_replayed(app: Headrace, acme: str) -> None:
    publish(app, acme, 1, page=PAGE.format("pump"))
    assert summed(replay.topic(app, acme))["events"] == 0
    app.land(acme)
    publish(app, acme, 2, page=PAGE.format("turbine"))
    assert summed(replay.topic(app, acme)) == Counter({"events": 1, "removed": 0, "unchanged": 1})
    assert lag(app, acme).events == 1


@pytest.mark.parametrize("where", [{"from_offset": 0}, {"since": datetime(2020, 1, 1, tzinfo=UTC)}])
def test_what_retention_removed_is_counted(app: Headrace, acme: str, where: dict[str, Any]) -> None:
    for second in range(4):
        write(app, acme, event("page", second), at_ms=1_700_000_000_000 + 1000 * second)
    app.land(acme)
    admin = AdminClient(app.endpoints.kafka_client())
    for answer in admin.delete_records([TopicPartition(topic_of(acme), 2, 3)]).values():
        answer.result(10)
    row = next(row for row in replay.topic(app, acme, **where) if row["partition"] == 2)
    assert row == {"partition": 2, "from_offset": 0, "to_offset": 4, "removed": 3, "events": 1, "fates": {"unchanged": 1}, "reasons": {}}


def test_a_topic_that_ends_before_the_position_is_not_the_one_that_landed(app: Headrace, acme: str) -> None:
    publish(app, acme, 1, page=PAGE.format("pump"))
    app.land(acme)
    with app.session(acme).transaction() as connection:
        connection.execute("UPDATE stream_position SET next_offset = 99")
    with pytest.raises(HeadraceError, match="offset-out-of-range"):
        replay.topic(app, acme)


def test_beside_a_landing_of_newer_events_a_replay_loses_and_repeats_nothing(app: Headrace, settings: Settings, acme: str) -> None:
    """The documents' rows are deleted before the replay, so that it and the landing write the same documents at once."""
    names = [f"page{number}" for number in range(6)]
    for sequence in range(1, 6):
        publish(app, acme, sequence, {name: f"{name} {sequence}" for name in names})
    app.land(acme)
    with app.session(acme).transaction() as connection:
        connection.execute("DELETE FROM document")

    def land_newer() -> None:
        with Headrace(settings, app.endpoints) as other:
            for sequence in range(6, 16):
                publish(other, acme, sequence, {name: f"{name} {sequence}" for name in names})
                while lag(other, acme).events:
                    other.land(acme)

    landing = Thread(target=land_newer)
    landing.start()
    while landing.is_alive():
        replay.topic(app, acme)
    landing.join()
    world = World(app, acme)
    assert [world.document(name)["sequence"] for name in names] == [15] * 6
    assert [world.document(name)["content"] for name in names] == [f"{name} 15".encode() for name in names]
    assert rows(app, acme, "SELECT fate, count(*) AS events FROM event GROUP BY fate") == [{"fate": "landed", "events": 90}]
    assert (lag(app, acme).events, dead_letters.open_letters(app, acme)) == (0, [])


def test_a_replay_that_loses_the_race_for_a_document_judges_it_again(app: Headrace, acme: str) -> None:
    world = World(app, acme)
    inlet = world.inlet()
    inlet.land(inlet.upsert("page", "one", 1))
    replayed, newest = inlet.upsert("page", "two", 2), inlet.upsert("page", "three", 3)
    found: list[Landed] = []
    replaying = Thread(target=lambda: found.append(replay._landed(app, acme, reread, [replayed])))
    with world.session.transaction() as connection:
        land(connection, world.session.keys, inlet.batch(newest))
        with world.until_blocked():
            replaying.start()
    replaying.join()
    assert found[0].fates == Counter(superseded=1)
    assert world.document("page")["content"] == b"three"


def test_a_replay_brings_back_nothing_that_was_erased(app: Headrace, acme: str) -> None:
    publish(app, acme, 1, page=PAGE.format("pump"), other=PAGE.format("mill"))
    publish(app, acme, 2, page=PAGE.format("turbine"))
    publish(app, acme, 3, source="/other", page=PAGE.format("turbine"))
    app.ingest(acme)
    erasure.erase(app, acme, "page")
    before = World(app, acme).everything()
    assert summed(replay.topic(app, acme))["events"] == 4
    assert World(app, acme).everything() == before


@dataclass(frozen=True)
class Publication:
    """An event of some source, within the contract or not."""

    kind: str
    name: str
    source: str
    sequence: int | None
    content: str

    def on(self, inlet: Inlet) -> KafkaRecord:
        if self.kind == "null":
            return inlet.null(self.name)
        if self.kind == "delete":
            return inlet.delete(self.name, self.sequence, self.source)
        sequence = -1 if self.kind == "bad" else self.sequence
        return inlet.upsert(self.name, self.content, sequence, self.source)


PUBLICATIONS = st.builds(
    Publication,
    kind=st.sampled_from(["upsert", "upsert", "delete", "null", "bad"]),
    name=st.sampled_from(["a.md", "b.md"]),
    source=st.sampled_from(["/wiki", "/other"]),
    sequence=st.none() | st.integers(0, 4),
    content=st.sampled_from(["one", "two"]),
)


@given(st.lists(st.lists(PUBLICATIONS, min_size=1, max_size=6), min_size=1, max_size=3))
@hypothesis_settings(max_examples=25)
def test_a_replay_changes_no_document_and_a_second_one_nothing_at_all(world: World, published: list[list[Publication]]) -> None:
    world.clear()
    landed = []
    for part in published:
        inlet = world.inlet()
        landed.append([one.on(inlet) for one in part])
        inlet.land(*landed[-1])
    documents = world.rows("SELECT * FROM document ORDER BY document")
    for records in landed:
        replayed(world, records)
    assert world.rows("SELECT * FROM document ORDER BY document") == documents
    before = world.everything()
    for records in landed:
        replayed(world, records)
    assert world.everything() == before


def replayed(world: World, records: Sequence[KafkaRecord]) -> Landed:
    with world.session.transaction() as connection:
        return reread(connection, world.session.keys, records)
