"""Publishing and reading on the real broker: nothing is lost or repeated, gaps are crossed, and every failure is one of our errors."""

from __future__ import annotations

import itertools
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from random import Random
from time import monotonic
from typing import Any
from unicodedata import normalize

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)
from hypothesis import given
from hypothesis import strategies as st

from core.config import Endpoints
from core.errors import ContractError, HeadraceError, Unavailable
from events.contract import Event, KafkaRecord, read, topic_of
from events.kafka.batches import Batch, Place, RecordBuffer
from events.kafka.reader import Reader
from events.kafka.topics import delete_topics, ensure_topics, keep_append_times, outcomes_of
from events.publish import Publisher

QUIET: dict[str, Any] = {"logger": logging.getLogger("tests.kafka")}


@pytest.fixture
def client(endpoints: Endpoints) -> dict[str, Any]:
    return endpoints.kafka_client()


@pytest.fixture
def admin(client: dict[str, Any]) -> AdminClient:
    return AdminClient(client | QUIET)


@pytest.fixture
def topic(client: dict[str, Any], tenant: str) -> Iterator[str]:
    """The topic of a new tenant, with one partition."""
    ensure_topics(client, tenant, 1, 1)
    yield topic_of(tenant)
    delete_topics(client, tenant)


@pytest.fixture
def reader(client: dict[str, Any]) -> Iterator[Reader]:
    with Reader(client, patience_s=10) as reader:
        yield reader


@pytest.fixture
def produce(client: dict[str, Any]) -> Callable[..., None]:
    """Produces raw records, one batch for each call."""

    def write(topic: str, *values: bytes | None, partition: int = 0, headers: Any = None, key: bytes | None = b"k") -> None:
        producer = Producer(client | QUIET)
        for value in values:
            producer.produce(topic, value, key, partition, headers=headers)
        assert producer.flush(10) == 0

    return write


def transact(client: dict[str, Any], topic: str, *values: bytes, commit: bool) -> None:
    producer = Producer(client | QUIET | {"transactional.id": f"tx-{topic}"})
    producer.init_transactions(10)
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value, b"k", 0)
    producer.flush(10)
    producer.commit_transaction(10) if commit else producer.abort_transaction(10)


def wait_for_end(reader: Reader, topic: str, end: int) -> None:
    """The broker writes a transaction's marker some time after it has acknowledged the end of the transaction."""
    until = monotonic() + 10
    while reader.high_watermarks([topic])[topic, 0] < end:
        assert monotonic() < until


def values(batches: list[Batch]) -> list[bytes | None]:
    return [record.value for batch in batches for record in batch.records]


def test_a_published_event_is_read_with_all_its_fields(client: dict[str, Any], reader: Reader, topic: str, tenant: str) -> None:
    with Publisher(client, tenant, "/wiki") as publisher:
        publisher.upsert("räume/1", content="Grüße", media_type="text/plain", title="T", acl=["b", "a"], metadata={"k": "v"}, sequence=4)
        publisher.upsert("2", uri="https://x.example/2.pdf", content_sha256="ab" * 32, file_name="2.pdf", acl=[])
        publisher.delete("räume/1", sequence=5)
    first, second, third = (read(record) for batch in reader.read_batches({(topic, 0): 0}) for record in batch.records)
    assert isinstance(first, Event)
    assert (first.document_name, first.source, first.operation, first.sequence) == ("räume/1", "/wiki", "upsert", 4)
    assert (first.content, first.media_type, first.title) == ("Grüße".encode(), "text/plain", "T")
    assert (first.acl, first.metadata) == (("a", "b"), {"k": "v"})
    assert isinstance(second, Event)
    assert (second.uri, second.content, second.acl, second.sequence_explicit) == ("https://x.example/2.pdf", None, (), False)
    assert isinstance(third, Event)
    assert (third.operation, third.document_name, third.sequence) == ("delete", "räume/1", 5)


CONTENTS = [
    (b"caf\xc3\xa9\r\n", "text/html; charset=utf-8", b'"content":'),
    (b"caf\xe9", "text/html", b'"content_base64":'),
    (b"a\0b", "text/plain", b'"content_base64":'),
    (b"%PDF-1.7", "application/pdf", b'"content_base64":'),
    (b"{}", "application/geo+json", b'"content":'),
    (b"plain", None, b'"content_base64":'),
    (b"", "text/plain", b'"content":'),
]


def test_bytes_arrive_as_they_were_given(client: dict[str, Any], reader: Reader, topic: str, tenant: str) -> None:
    with Publisher(client, tenant, "/wiki") as publisher:
        for content, media_type, _ in CONTENTS:
            publisher.upsert("1", content=content, media_type=media_type)
    records = [record for batch in reader.read_batches({(topic, 0): 0}) for record in batch.records]
    for record, (content, _, carried) in zip(records, CONTENTS, strict=True):
        outcome = read(record)
        assert isinstance(outcome, Event)
        assert outcome.content == content
        assert carried in (record.value or b"")


@pytest.mark.parametrize(
    "wrong",
    [
        {"document_id": "", "content": "x"},
        {"document_id": "x" * 1025, "content": "x"},
        {"document_id": "1"},
        {"document_id": "1", "content": "x", "uri": "file:///x"},
        {"document_id": "1", "content": "x", "sequence": -1},
        {"document_id": "1", "content": "x", "acl": [""]},
        {"document_id": "caf\udce9.txt", "content": "x"},
        {"document_id": "1", "content": "x", "title": "caf\udce9"},
        {"document_id": "1", "content": "x", "metadata": {"a": "\ud800"}},
    ],
)
def test_a_publisher_raises_a_contract_violation_at_once(client: dict[str, Any], tenant: str, wrong: dict[str, Any]) -> None:
    with Publisher(client, tenant, "/wiki") as publisher, pytest.raises(ContractError) as refused:
        publisher.upsert(**wrong)
    assert refused.value.reason == "contract-violation"


def test_an_event_that_is_too_large_is_refused_and_the_message_names_the_uri(client: dict[str, Any], tenant: str) -> None:
    with Publisher(client, tenant, "/wiki") as publisher, pytest.raises(HeadraceError, match="`uri`") as caught:
        publisher.upsert("1", content=b"\xff" * (7 << 20))
    assert caught.value.reason == "event-too-large"


def test_what_the_broker_refuses_is_counted_and_its_neighbours_arrive(
    client: dict[str, Any], admin: AdminClient, reader: Reader, topic: str, tenant: str
) -> None:
    entry = ConfigEntry("max.message.bytes", "2000", incremental_operation=AlterConfigOpType.SET)
    small = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin.incremental_alter_configs([small])[small].result(10)
    publisher = Publisher(client | {"linger.ms": 0, "batch.num.messages": 1}, tenant, "/wiki")
    publisher.upsert("1", content="small")
    publisher.upsert("2", content=Random(0).randbytes(10_000))
    publisher.upsert("3", content="small")
    with pytest.raises(HeadraceError, match=r"1 of 3 events: MSG_SIZE_TOO_LARGE \(1\).*`uri`") as caught:
        publisher.flush()
    assert caught.value.reason == "publish-failed"
    publisher.flush()
    assert len(values(list(reader.read_batches({(topic, 0): 0})))) == 2


def test_a_missing_topic_is_a_failed_delivery(client: dict[str, Any], tenant: str) -> None:
    publisher = Publisher(client | {"delivery.timeout.ms": 1500, "topic.metadata.propagation.max.ms": 100}, tenant, "/wiki")
    publisher.upsert("1", content="x")
    with pytest.raises(HeadraceError) as caught:
        publisher.flush()
    assert caught.value.reason == "publish-failed"


def test_creating_and_deleting_topics_is_idempotent(client: dict[str, Any], reader: Reader, tenant: str) -> None:
    for _ in range(2):
        ensure_topics(client, tenant, 3, 1)
    assert reader.partitions(topic_of(tenant)) == [0, 1, 2]
    assert reader.partitions(outcomes_of(tenant)) == [0, 1, 2]
    for _ in range(2):
        delete_topics(client, tenant)
    with pytest.raises(HeadraceError) as caught:
        reader.partitions(topic_of(tenant))
    assert caught.value.reason == "unknown-topic"


def test_a_record_is_read_with_its_headers_key_and_timestamp(reader: Reader, produce: Callable[..., None], topic: str) -> None:
    produce(topic, None, headers=[("ce_source", b"/a"), ("ce_source", b"/b"), ("x", None), ("y", b"\xff")], key=None)
    (batch,) = reader.read_batches({(topic, 0): 0})
    (record,) = batch.records
    assert (record.topic, record.partition, record.offset, record.key, record.value) == (topic, 0, 0, None, None)
    assert record.headers == (("ce_source", b"/a"), ("ce_source", b"/b"), ("x", None), ("y", b"\xff"))
    assert record.timestamp_ms > 1_700_000_000_000


def test_reading_begins_at_the_position_and_ends_where_the_topic_ended(reader: Reader, produce: Callable[..., None], topic: str) -> None:
    produce(topic, b"0", b"1", b"2")
    batches = reader.read_batches({(topic, 0): 1}, max_records=1)
    first = next(batches)
    produce(topic, b"3")
    assert values([first, *batches]) == [b"1", b"2"]
    assert list(reader.read_batches({(topic, 0): 4})) == []


def test_batches_join_without_a_gap_and_stay_within_the_limits(reader: Reader, produce: Callable[..., None], topic: str) -> None:
    produce(topic, *(b"%d" % n for n in range(250)))
    batches = list(reader.read_batches({(topic, 0): 0}, max_records=100))
    assert [(batch.start, batch.end, len(batch.records)) for batch in batches] == [(0, 100, 100), (100, 200, 100), (200, 250, 50)]
    by_size = list(reader.read_batches({(topic, 0): 0}, max_bytes=200))
    assert max(sum(len(r.value or b"") + len(r.key or b"") for r in batch.records) for batch in by_size) < 200 + 4
    assert values(by_size) == values(batches)


def test_every_partition_is_read_in_its_own_order(
    client: dict[str, Any], reader: Reader, produce: Callable[..., None], tenant: str
) -> None:
    ensure_topics(client, tenant, 3, 1)
    topic = topic_of(tenant)
    for partition in range(3):
        produce(topic, *(b"%d-%d" % (partition, n) for n in range(40)), partition=partition)
    batches = list(reader.read_batches({(topic, n): 0 for n in range(3)}, max_records=16))
    for partition in range(3):
        ours = [batch for batch in batches if batch.partition == partition]
        assert values(ours) == [b"%d-%d" % (partition, n) for n in range(40)]
        assert [batch.end for batch in ours[:-1]] == [batch.start for batch in ours[1:]]
    delete_topics(client, tenant)


def configured(admin: AdminClient, topic: str, name: str) -> str:
    [found] = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
    return str(found.result(10)[name].value)


def test_a_record_has_the_time_at_which_the_broker_appended_it_and_an_older_topic_keeps_such_times_from_now_on(
    client: dict[str, Any], admin: AdminClient, reader: Reader, tenant: str
) -> None:
    topic, long_ago = topic_of(tenant), 1_000_000
    for future in admin.create_topics([NewTopic(topic, 1)]).values():
        future.result(10)
    producer = Producer(client | QUIET)
    for attempt in range(2):
        producer.produce(topic, b"{}", b"k", 0, timestamp=long_ago)
        assert producer.flush(10) == 0
        if attempt == 0:
            ensure_topics(client, tenant, 1, 1)
    before, after = [record for batch in reader.read_batches({(topic, 0): 0}) for record in batch.records]
    assert (before.appended, before.timestamp_ms) == (False, long_ago)
    assert after.appended
    assert after.timestamp_ms > 1_700_000_000_000
    assert configured(admin, topic, "message.timestamp.type") == "LogAppendTime"
    delete_topics(client, tenant)


def test_a_topic_that_may_not_be_configured_stays_as_it_is(client: dict[str, Any], tenant: str, caplog: pytest.LogCaptureFixture) -> None:
    assert not keep_append_times(client, tenant)
    assert "keeps its publishers' timestamps" in caplog.text


def test_a_documents_events_are_in_the_java_clients_partition_in_whatever_spelling(
    client: dict[str, Any], reader: Reader, tenant: str
) -> None:
    ensure_topics(client, tenant, 7, 1)
    topic, names = topic_of(tenant), [*(f"pages/{number}.md" for number in range(30)), "notes/Überblick.md", "日本語", "한글"]
    with Publisher(client, tenant, "/wiki") as publisher:
        for name in names:
            publisher.upsert(name, content="x")
            publisher.delete(normalize("NFD", name))
    read_records = [r for batch in reader.read_batches({(topic, partition): 0 for partition in range(7)}) for r in batch.records]
    assert Counter((r.key, r.partition) for r in read_records) == {(n.encode(), (murmur2(n.encode()) & 0x7FFFFFFF) % 7): 2 for n in names}
    delete_topics(client, tenant)


def murmur2(key: bytes) -> int:
    """The hash of Kafka's Java producer."""
    m, mask, whole = 0x5BD1E995, 0xFFFFFFFF, len(key) - len(key) % 4
    h = 0x9747B28C ^ len(key)
    for start in range(0, whole, 4):
        k = int.from_bytes(key[start : start + 4], "little") * m & mask
        h = (h * m ^ (k ^ k >> 24) * m) & mask
    if whole < len(key):
        h = (h ^ int.from_bytes(key[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


def test_an_aborted_transaction_leaves_a_gap_that_the_position_crosses(client: dict[str, Any], reader: Reader, topic: str) -> None:
    transact(client, topic, b"never", b"never", commit=False)
    wait_for_end(reader, topic, end := 3)
    (batch,) = reader.read_batches({(topic, 0): 0})
    assert (batch.start, batch.end, batch.records) == (0, end, ())
    assert list(reader.read_batches({(topic, 0): end})) == []


def test_a_committed_transaction_is_read_and_its_marker_crossed(client: dict[str, Any], reader: Reader, topic: str) -> None:
    transact(client, topic, b"a", b"b", commit=True)
    wait_for_end(reader, topic, 3)
    batches = list(reader.read_batches({(topic, 0): 0}))
    assert values(batches) == [b"a", b"b"]
    assert batches[-1].end == reader.high_watermarks([topic])[topic, 0] == 3


def test_an_open_transaction_is_not_waited_for(client: dict[str, Any], reader: Reader, produce: Callable[..., None], topic: str) -> None:
    produce(topic, b"before")
    open_one = Producer(client | QUIET | {"transactional.id": f"open-{topic}"})
    open_one.init_transactions(10)
    open_one.begin_transaction()
    open_one.produce(topic, b"maybe", b"k", 0)
    open_one.flush(10)
    assert values(list(reader.read_batches({(topic, 0): 0}))) == [b"before"]
    open_one.commit_transaction(10)
    wait_for_end(reader, topic, 3)
    assert values(list(reader.read_batches({(topic, 0): 1}))) == [b"maybe"]


def test_events_lost_to_retention_are_an_error_that_names_the_range(
    admin: AdminClient, reader: Reader, produce: Callable[..., None], topic: str
) -> None:
    produce(topic, b"0", b"1", b"2")
    for answer in admin.delete_records([TopicPartition(topic, 0, 2)]).values():
        answer.result(10)
    assert reader.low_watermarks([topic]) == {(topic, 0): 2}
    with pytest.raises(HeadraceError, match=f"{topic}/0: offsets 1 to 1 ") as caught:
        next(reader.read_batches({(topic, 0): 1}))
    assert caught.value.reason == "events-lost-to-retention"
    assert values(list(reader.read_batches({(topic, 0): 2}))) == [b"2"]


def test_reading_up_to_an_offset_ends_before_it_though_a_gap_leads_beyond(
    client: dict[str, Any], reader: Reader, produce: Callable[..., None], topic: str
) -> None:
    produce(topic, b"0", b"1")
    transact(client, topic, b"2", commit=False)  # offset 2, and its marker at 3
    wait_for_end(reader, topic, 4)
    produce(topic, b"4", b"5")
    for until, there in ((1, [b"0"]), (2, [b"0", b"1"]), (3, [b"0", b"1"]), (5, [b"0", b"1", b"4"]), (9, [b"0", b"1", b"4", b"5"])):
        batches = list(reader.read_batches({(topic, 0): 0}, until={(topic, 0): until}))
        assert (values(batches), batches[-1].end) == (there, min(until, 6))


def test_offsets_are_found_by_time_and_a_partition_without_newer_records_is_left_out(
    reader: Reader, produce: Callable[..., None], topic: str
) -> None:
    produce(topic, b"0")
    assert reader.offsets_since(topic, 0) == {(topic, 0): 0}
    assert reader.offsets_since(topic, 4_000_000_000_000) == {}


def test_a_position_beyond_the_end_means_another_topic(reader: Reader, topic: str) -> None:
    with pytest.raises(HeadraceError, match="the position is 1 and the topic ends at 0") as caught:
        next(reader.read_batches({(topic, 0): 1}))
    assert caught.value.reason == "offset-out-of-range"


def test_one_record_can_be_read_again(client: dict[str, Any], reader: Reader, produce: Callable[..., None], topic: str) -> None:
    produce(topic, b"0", b"1")
    transact(client, topic, b"2", commit=True)
    wait_for_end(reader, topic, 4)
    found = reader.read_one(topic, 0, 1)
    assert found is not None
    assert (found.offset, found.value) == (1, b"1")
    assert reader.read_one(topic, 0, 3) is None  # the transaction's marker
    assert reader.read_one(topic, 0, 4) is None


def test_lag_tools_see_what_was_committed(client: dict[str, Any], admin: AdminClient, produce: Callable[..., None], topic: str) -> None:
    produce(topic, b"0", b"1")
    with Reader(client) as reader:
        reader.commit({(topic, 0): 2})
    answer = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions("headrace", [TopicPartition(topic, 0)])])
    (found,) = answer["headrace"].result(10).topic_partitions
    assert found.offset == 2


def test_a_wrong_password_is_refused_and_not_waited_for(client: dict[str, Any], tenant: str) -> None:
    wrong = client | {"sasl.password": "wrong", "delivery.timeout.ms": 3000, "socket.timeout.ms": 3000}
    with pytest.raises(HeadraceError) as caught:
        ensure_topics(client | {"sasl.password": "wrong"}, tenant, 1, 1)
    assert caught.value.reason == "kafka-refused"
    publisher = Publisher(wrong, tenant, "/wiki")
    publisher.upsert("1", content="x")
    with pytest.raises(HeadraceError) as caught:
        publisher.flush()
    assert caught.value.reason == "kafka-refused"


def test_no_broker_is_unavailable_and_silent(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("events.kafka.reader.REQUEST_S", 0.5)
    with Reader({"bootstrap.servers": "127.0.0.1:1"}, patience_s=0.5) as reader:
        with pytest.raises(Unavailable):
            reader.high_watermarks(["documents.acme"])
        with pytest.raises(Unavailable):
            list(reader.read_batches({("documents.acme", 0): 0}))
    assert capfd.readouterr().err == ""


PLACES = [("documents.a", 0), ("documents.a", 1), ("documents.b", 0)]
STEPS = st.lists(st.tuples(st.sampled_from(PLACES), st.integers(0, 3), st.integers(0, 30) | st.none()), max_size=40)


@given(STEPS, st.integers(1, 5), st.integers(1, 60))
def test_batches_always_cover_every_offset_once_and_in_order(steps: list[tuple[Place, int, int | None]], most: int, size: int) -> None:
    """A step is a gap of some offsets, then a record of some bytes or none."""
    buffer = RecordBuffer(most, size)
    for place in PLACES:
        buffer.open(place, 5)
    given_records: dict[Place, list[KafkaRecord]] = defaultdict(list)
    batches: list[Batch] = []
    for place, gap, length in steps:
        offset = (buffer.position(place) or 0) + gap
        buffer.skip_to(place, offset)
        if length is not None:
            given_records[place].append(KafkaRecord(*place, offset, 0, None, b"x" * length))
            buffer.add(given_records[place][-1])
        if buffer.full:
            batches += buffer.flush()
            assert not buffer.full
    ends = buffer.positions
    batches += itertools.chain.from_iterable(buffer.close(place) for place in PLACES)
    for place in PLACES:
        ours = [batch for batch in batches if (batch.topic, batch.partition) == place]
        assert [batch.start for batch in ours] == [5, *(batch.end for batch in ours)][: len(ours)]
        assert (ours[-1].end if ours else 5) == ends[place]
        assert [record for batch in ours for record in batch.records] == given_records[place]
        assert all(batch.start < batch.end and len(batch.records) <= most for batch in ours)
