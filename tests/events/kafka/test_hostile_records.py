"""Records of any bytes on the real broker, written by librdkafka: each is accounted for at its place, and what is behind it lands."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from confluent_kafka import Producer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks._raw_producer import RawProducer
from core.config import Settings
from events.contract import UPSERT, topic_of
from events.digests import document_key
from events.kafka.bad_batches import Search
from events.kafka.batches import Batch
from events.kafka.group import Member
from events.kafka.reader import Reader
from events.kafka.topics import outcomes_of
from events.outcomes import Outcomes
from events.positions import losses
from pipelines.dagster.runtime import Runtime
from pipelines.operations import replay
from pipelines.operations.dead_letters import open_letters
from tests.events.kafka.accounting import QUIET, accounted, everything
from tests.tenant_fixture import publish

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


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
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
    assert accounted(app, open_tenant) == everything(app, open_tenant)


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


@pytest.mark.slow
@given(st.lists(st.integers(1, 2**20), min_size=1, max_size=8), st.integers(0, 2**62), st.data())
def test_the_end_of_a_batch_with_an_error_is_found_in_steps_that_grow_with_its_logarithm(
    lengths: list[int], at: int, data: st.DataObject
) -> None:
    firsts = [*accumulate(lengths, initial=at)]
    start = data.draw(st.integers(firsts[0], firsts[1] - 1))
    batches = [ERROR, *(data.draw(st.sampled_from([ERROR, MALFORMED, READABLE])) for _ in lengths[1:])]
    end, probes = searched(firsts, batches, start, firsts[0])
    assert end == firsts[1]
    assert probes <= 2 * lengths[0].bit_length() + 1


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(0, 2**62), st.data())
def test_the_end_of_malformed_batches_is_found_offset_by_offset_and_nothing_readable_is_before_it(
    lengths: list[int], at: int, data: st.DataObject
) -> None:
    firsts = [*accumulate(lengths, initial=at)]
    start = data.draw(st.integers(firsts[0], firsts[1] - 1))
    batches = [MALFORMED, *(data.draw(st.sampled_from([ERROR, MALFORMED, READABLE])) for _ in lengths[1:])]
    end, probes = searched(firsts, batches, start, None)
    assert end == firsts[next((number for number, kind in enumerate(batches) if kind != MALFORMED), len(batches))]
    assert probes <= end - start + 1


ERROR, MALFORMED, READABLE = "error", "malformed", "readable"


def searched(firsts: list[int], batches: list[str], start: int, first: int | None) -> tuple[int, int]:
    """The end that a search finds among batches with these first offsets, and in how many probes."""
    search, probes = Search(start - 1, firsts[-1], first), 0
    while (probe := search.probe) is not None:
        assert start <= probe < search.outside
        batch = bisect_right(firsts, probe) - 1
        search.tell(probe if batches[batch] == READABLE else None, firsts[batch] if batches[batch] == ERROR else None)
        probes += 1
    return search.outside, probes


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


def test_gaps_of_transactions_are_no_batches_that_cannot_be_read(app: Runtime, acme: str) -> None:
    client, topic = app.endpoints.kafka_client(), topic_of(acme)
    producer = Producer(client | QUIET | {"transactional.id": f"tx-{acme}"})
    producer.init_transactions(30)
    for commits in (True, False, True):
        producer.begin_transaction()
        for _ in range(2):
            producer.produce(topic, None, b"page.md", 0)
        producer.flush(30)
        producer.commit_transaction(30) if commits else producer.abort_transaction(30)
    produce_batches(client, topic, (1, False))
    expected = [(0, ""), (1, ""), (6, ""), (7, ""), (9, "")]
    with Reader(client) as reader:
        assert offsets(list(reader.read_batches({(topic, 0): 0}))) == expected
    assert offsets(read_as_member(client, topic, until=10)) == expected


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
