"""Records of Kafka's own Java producer, with anything that it lets through: each is accounted for, and what is behind it lands.

For a header's name that is no Unicode text (a string of Java may have half a surrogate pair), it writes a record whose length is wrong. The
broker refuses that in a batch that is not compressed, and stores it in one that is.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import iter_unpack

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.config import Settings
from events.contract import topic_of
from events.digests import document_key
from pipelines.dagster.runtime import Runtime
from pipelines.operations.dead_letters import open_letters
from services.download import provide
from services.pins import pin_list
from services.server import Progress
from tests.events.kafka.accounting import accounted, everything
from tests.events.kafka.java_producer import JavaProducer, Record
from tests.events.kafka.test_hostile_records import CODECS, event, read_as_member
from tests.tenant_fixture import publish

TEXT_UNITS = st.text(max_size=3).map(lambda text: tuple(unit for (unit,) in iter_unpack(">H", text.encode("utf-16-be"))))
ANY_UNITS = st.lists(st.integers(0, 0xFFFF) | st.sampled_from([0, 0xD83D, 0xDE00, 0xD800]), max_size=4).map(tuple)
NAMES = st.one_of(TEXT_UNITS, TEXT_UNITS, TEXT_UNITS, ANY_UNITS)
BYTES = st.none() | st.binary(max_size=12) | st.sampled_from([b"", b"\0", b"page.md", b"{}", event("page.md")])
STRUCTURED = (tuple(map(ord, "content-type")), b"application/cloudevents+json")


@st.composite
def records(draw: st.DrawFn) -> Record:
    headers = draw(st.lists(st.tuples(NAMES, BYTES) | st.just(STRUCTURED), max_size=3))
    timestamp = draw(st.none() | st.integers(0, 2**63 - 1))  # it refuses negative ones itself
    return Record(draw(BYTES), draw(BYTES), tuple(name for name, _ in headers), tuple(value for _, value in headers), timestamp)


def well_formed(record: Record) -> bool:
    """Whether every header's name is Unicode text."""
    return all(is_text(units) for units in record.header_names)


def is_text(units: tuple[int, ...]) -> bool:
    try:
        b"".join(unit.to_bytes(2, "big") for unit in units).decode("utf-16-be")
    except UnicodeDecodeError:
        return False
    return True


@pytest.fixture(scope="module")
def java(app: Runtime, settings: Settings) -> Iterator[JavaProducer]:
    with JavaProducer(provide(pin_list("kafka"), settings.jars, Progress(lambda _: None)), app.endpoints.kafka_client()) as producer:
        yield producer


@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(records(), min_size=1, max_size=50), st.sampled_from(CODECS))
def test_anything_that_the_java_producer_writes_is_accounted_for(
    app: Runtime, open_tenant: str, java: JavaProducer, given_records: list[Record], codec: str
) -> None:
    topic = topic_of(open_tenant)
    java.produce(topic, codec, [record for record in given_records if well_formed(record)])
    for record in given_records:
        if not well_formed(record):
            # alone in its batch: of what follows it there, the client may read a part without a sign of it
            java.produce(topic, codec, [record])
    publish(app, open_tenant, None, {"neighbour.md": "A page about herons."})
    landed = app.land(open_tenant)
    assert document_key("neighbour.md", app.session(open_tenant).keys) in landed.documents
    assert accounted(app, open_tenant) == everything(app, open_tenant)


LONE_SURROGATE = Record(b"page.md", event("page.md"), ((0xD800,), STRUCTURED[0]), (b"x", STRUCTURED[1]), 1_700_000_000_000)
FOLLOWED_BY = {
    "a record that the client cannot parse": Record(b"page.md", event("page.md"), (STRUCTURED[0],), (STRUCTURED[1],), 1_700_000_000_000),
    # parsed from its third byte on, it is a record 49 offsets behind the first, with neither key nor value
    "what looks like a record far behind": Record(b"b\1\1 and more", b"v", (), (), 1_700_000_000_010),
}


@pytest.mark.parametrize("follows", FOLLOWED_BY)
def test_what_follows_a_malformed_record_in_its_batch_is_told_and_what_is_behind_it_lands(
    app: Runtime, open_tenant: str, java: JavaProducer, follows: str
) -> None:
    topic, client = topic_of(open_tenant), app.endpoints.kafka_client()
    assert java.produce(topic, "zstd", [LONE_SURROGATE, FOLLOWED_BY[follows]], partition=0) == 2
    for name in ("a.md", "b.md", "c.md"):
        assert java.produce(topic, "zstd", [Record(name.encode(), event(name), (STRUCTURED[0],), (STRUCTURED[1],))], partition=0) == 1
    assert app.land(open_tenant).fates["landed"] == 4
    (letter,) = open_letters(app, open_tenant)
    assert (letter.reason, letter.detail) == ("unreadable-batch", "offsets 1 to 1: the client cannot read this batch (malformed)")
    assert accounted(app, open_tenant) == everything(app, open_tenant)
    assert [record.offset for batch in read_as_member(client, topic, 5) for record in batch.records] == [0, 1, 2, 3, 4]
