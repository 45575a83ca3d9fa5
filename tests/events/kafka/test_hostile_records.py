"""Records of any bytes on the real broker, written by librdkafka: each is accounted for at its place, and what is behind it lands."""

from __future__ import annotations

import json
import logging
from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType  # type: ignore[attr-defined]
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks._raw_producer import RawProducer
from core.config import Settings
from events.contract import UPSERT, topic_of
from events.digests import document_key
from events.kafka.bad_batches import Search
from events.kafka.batches import Batch, Place
from events.kafka.group import Member
from events.kafka.reader import Reader
from events.kafka.topics import outcomes_of
from events.outcomes import Outcomes
from events.positions import losses
from pipelines.dagster.runtime import Runtime
from pipelines.operations import replay
from pipelines.operations.dead_letters import open_letters
from tests.tenant_fixture import publish

QUIET: dict[str, Any] = {"logger": logging.getLogger("tests.kafka")}
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
STRUCTURED = (b"content-type", b"application/cloudevents+json")
ANY_BYTES = st.binary(max_size=12) | st.sampled_from(
    [b"", b"\0", b"page.md", b"tr\xe9s", b"\xed\xa0\x80", b"{}", b"ce_id", b"jo@example.com"]
)
RECORDS = st.fixed_dictionaries(
    {
        "key": st.none() | ANY_BYTES,
        "value": st.none() | ANY_BYTES,
        "headers": st.lists(st.tuples(ANY_BYTES, st.none() | ANY_BYTES) | st.just(STRUCTURED), max_size=4),
        # 0 is "now" in librdkafka
        "timestamp_ms": st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, -1, 1, 2**63 - 1]),
    }
)


def accept_any_timestamp(app: Runtime, tenant: str) -> None:
    """As in a topic that others created, with the broker's checks off."""
    admin = AdminClient(app.endpoints.kafka_client() | QUIET)
    wanted = {
        "message.timestamp.type": "CreateTime",
        "message.timestamp.before.max.ms": str(2**63 - 1),
        "message.timestamp.after.max.ms": str(2**63 - 1),
    }
    entries = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in wanted.items()]
    resource = ConfigResource(ResourceType.TOPIC, topic_of(tenant), incremental_configs=entries)
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(10)


@pytest.fixture(scope="module")
def open_tenant(app: Runtime) -> str:
    """A tenant whose topic takes every timestamp."""
    from pipelines.governance.tenants import add

    name = "hostile-records"
    add(app, name)
    accept_any_timestamp(app, name)
    return name


def accounted(app: Runtime, tenant: str) -> dict[Place, list[int]]:
    """The offsets of each partition that have an event's row; every refused one has a dead letter at the same place."""
    with app.session(tenant).transaction() as connection:
        rows = connection.execute("SELECT kafka_partition, kafka_offset, fate FROM event ORDER BY 1, 2").fetchall()
        letters = connection.execute("SELECT kafka_partition, kafka_offset FROM dead_letter").fetchall()
    refused = {(row["kafka_partition"], row["kafka_offset"]) for row in rows if row["fate"] == "dead-lettered"}
    assert refused == {(letter["kafka_partition"], letter["kafka_offset"]) for letter in letters}
    places = {row["kafka_partition"] for row in rows}
    return {(topic_of(tenant), p): [row["kafka_offset"] for row in rows if row["kafka_partition"] == p] for p in places}


@settings(max_examples=8)
@given(st.lists(RECORDS, min_size=1, max_size=40), st.sampled_from(CODECS))
def test_any_bytes_in_every_part_of_a_record_are_accounted_for(
    app: Runtime, open_tenant: str, records: list[dict[str, Any]], codec: str
) -> None:
    topic = topic_of(open_tenant)
    before = sum(app.reader.high_watermarks([topic]).values())
    with RawProducer(app.endpoints.kafka_client() | {"compression.type": codec}) as producer:
        for record in records:
            producer.produce(topic, **record)
    assert sum(app.reader.high_watermarks([topic]).values()) == before + len(records)
    publish(app, open_tenant, None, {"neighbour.md": "A page about herons."})
    landed = app.land(open_tenant)
    assert landed.events == len(records) + 1
    assert document_key("neighbour.md", app.session(open_tenant).keys) in landed.documents
    assert accounted(app, open_tenant) == {p: list(range(end)) for p, end in app.reader.high_watermarks([topic]).items() if end}


def test_a_header_name_that_is_not_utf_8_is_a_dead_letter_of_its_document_that_a_replay_refuses_again(app: Runtime, acme: str) -> None:
    with RawProducer(app.endpoints.kafka_client()) as producer:
        producer.produce(topic_of(acme), b"page.md", event("page.md"), [STRUCTURED, (b"tr\xe9s", b"x")], partition=0)
        producer.produce(topic_of(acme), b"page.md", event("page.md"), [STRUCTURED], partition=0)
    landed, _ = app.ingest(acme)
    assert landed.fates == {"dead-lettered": 1, "landed": 1}
    (letter,) = open_letters(app, acme)
    assert (letter.position, letter.reason, letter.attempts) == ("0:0", "unreadable-record", 1)
    assert letter.document == document_key("page.md", app.session(acme).keys)
    (retried,) = replay.dead_letters(app, acme)
    assert retried["outcome"] == "refused"
    assert open_letters(app, acme)[0].attempts == 2


# batches


@given(st.lists(st.integers(1, 2**20), min_size=1, max_size=8), st.integers(0, 2**62), st.data())
def test_the_end_of_a_batch_is_found_in_steps_that_grow_with_its_logarithm(lengths: list[int], at: int, data: st.DataObject) -> None:
    """Whatever batches follow it; a readable one does not say where it begins."""
    firsts = [*accumulate(lengths, initial=at)]
    start = data.draw(st.integers(firsts[0], firsts[1] - 1))
    known = [True, *(data.draw(st.booleans()) for _ in lengths[1:])]
    search, probes = Search(firsts[0], start - 1, firsts[-1]), 0
    while (probe := search.probe) is not None:
        assert start <= probe < search.outside
        batch = bisect_right(firsts, probe) - 1
        search.tell(firsts[batch] if known[batch] else probe)
        probes += 1
    assert search.outside == firsts[1]
    assert probes <= 2 * lengths[0].bit_length() + 1


BOMB_BYTES = 105_000_000
"""More than a consumer decompresses at once (`receive.message.max.bytes`); zeros, so that some thousand bytes carry them."""
BATCHES = ((2, False), (1, True), (20, True), (1, False))
"""How many records a batch has, and whether the client cannot read it."""


def produce_batches(client: Mapping[str, Any], topic: str, *batches: tuple[int, bool]) -> None:
    """Batches in one partition, whose records are valid events but for those that no client can read."""
    for count, bad in batches:
        size = {"message.max.bytes": 10**9, "batch.size": 2**31 - 1, "queue.buffering.max.kbytes": 2**31 - 1, "linger.ms": 60_000}
        producer = Producer({**client, **QUIET, **size, "compression.type": "zstd"})
        for _ in range(count):
            value = bytes(BOMB_BYTES // count) if bad else event("page.md")
            producer.produce(topic, value, b"page.md", 0, headers=[("content-type", STRUCTURED[1])])
        assert producer.flush(60) == 0


def offsets(batches: list[Batch]) -> list[tuple[int, str]]:
    """Each record's offset, and what stands for it: nothing if it could be read."""
    return [(record.offset, (record.unreadable or ("", ""))[1]) for batch in batches for record in batch.records]


EXPECTED = [
    *((0, ""), (1, "")),
    (2, "offsets 2 to 2: the client cannot read this batch (_BAD_COMPRESSION)"),
    (3, "offsets 3 to 22: the client cannot read this batch (_BAD_COMPRESSION)"),
    (23, ""),
]


def test_a_batch_that_decompresses_to_too_much_is_passed_over_by_every_reader_and_told_once(app: Runtime, acme: str) -> None:
    client, topic = app.endpoints.kafka_client(), topic_of(acme)
    produce_batches(client, topic, *BATCHES)
    with Reader(client) as reader:
        batches = list(reader.read_batches({(topic, 0): 0}))
        assert offsets(batches) == EXPECTED
        assert [record.offset for batch in reader.read_batches({(topic, 0): 7}, until={(topic, 0): 9}) for record in batch.records] == [7]
    assert offsets(read_as_member(client, topic, until=24)) == EXPECTED

    assert app.land(acme).reasons == {"unreadable-batch": 2}
    assert app.positions(acme)[topic, 0] == 24
    with app.session(acme).transaction() as connection:
        assert [loss["position"] for loss in losses(connection)] == ["0:2", "0:3"]
    assert {retried["outcome"] for retried in replay.dead_letters(app, acme)} == {"gone"}
    (row, *_) = replay.topic(app, acme, partition=0)
    assert (row["events"], row["reasons"]) == (5, {"unreadable-batch": 2})


def read_as_member(client: Mapping[str, Any], topic: str, until: int) -> list[Batch]:
    batches: list[Batch] = []
    deadline = monotonic() + 60
    with Member(client, "hostile", max_records=8, max_bytes=1 << 20) as member:
        member.subscribe([topic])
        while not batches or batches[-1].end < until:
            assert monotonic() < deadline
            member.open(dict.fromkeys(member.unopened, 0))
            batches += [batch for batch in member.poll(0.1) if batch.partition == 0]
    assert [batch.start for batch in batches] == [0, *(batch.end for batch in batches[:-1])]
    return batches


@pytest.mark.parametrize("codec", CODECS[1:])
def test_a_batch_that_rots_on_the_brokers_disk_is_passed_over(app: Runtime, acme: str, codec: str) -> None:
    client, topic = app.endpoints.kafka_client(), topic_of(acme)
    for count in (1, 5, 2):
        producer = Producer({**client, **QUIET, "compression.type": codec, "linger.ms": 60_000})
        for number in range(count):
            producer.produce(topic, event(f"page-{count}-{number}.md"), b"page.md", 0)
        assert producer.flush(10) == 0
    spoil(app.settings, topic, batch=1)
    with Reader(client) as reader:
        found = offsets(list(reader.read_batches({(topic, 0): 0})))
    assert found == [(0, ""), (1, "offsets 1 to 5: the client cannot read this batch (_BAD_COMPRESSION)"), (6, ""), (7, "")]


BATCH_HEADER = 61


def spoil(settings: Settings, topic: str, batch: int) -> None:
    """Overwrite the beginning of a batch's compressed records in the log of partition 0."""
    (log,) = Path(settings.data_dir).glob(f"**/{topic}-0/00000000000000000000.log")
    with log.open("r+b") as file:
        for _ in range(batch):
            start = file.tell()
            file.seek(start + 8)
            file.seek(start + 12 + int.from_bytes(file.read(4)))
        file.seek(BATCH_HEADER, 1)
        file.write(b"\xff" * 16)


def event(name: str) -> bytes:
    whole = {"specversion": "1.0", "id": "e1", "source": "/wiki", "type": UPSERT, "subject": name, "data": {"content": "herons"}}
    return json.dumps(whole).encode()


def test_what_is_no_outcome_is_left_out_for_who_waits_for_one(app: Runtime, acme: str) -> None:
    client = app.endpoints.kafka_client()
    with Outcomes(client, acme) as outcomes:
        with RawProducer(client) as producer:
            for value in (None, b"\xff", b"{}", b"[" * 9000, b'{"event": "\xff"}', b'{"event": "e1", "outcome": "of a later version"}'):
                producer.produce(outcomes_of(acme), b"page.md", value, [(b"\xff", b"x")], partition=0)
            producer.produce(topic_of(acme), b"page.md", event("page.md"), [STRUCTURED], partition=0)
        app.ingest(acme)
        assert outcomes.wait_for(["e1"], 30)["e1"].outcome == "indexed"
