"""Whatever bytes a record has, it lands or becomes a dead letter, is reported, and stops no other record: from the contract to the CLI."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.records import encode
from events.contract import DELETE, MAX_EVENT_BYTES, UNREADABLE_RECORD, UPSERT, KafkaRecord
from pipelines.operations import dead_letters, explain
from tests.tenant_fixture import STRUCTURED, World

pytestmark = pytest.mark.usefixtures("empty_world")

BITS = (
    b"jo@example.com",
    b"page.md",
    b"\0",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xef\xbf\xbf",
    b"\x1b[31m",
    b"\r\n",
    b"'; --",
    b"{",
    b"%00",
    b"\xe2\x80\xae",
)
BYTES = st.none() | st.lists(st.sampled_from(BITS) | st.binary(max_size=8), max_size=5).map(b"".join)
NAMES = st.sampled_from(["content-type", "ce_id", "ce_time", "ce_sequence", "ce_type", "ce_specversion", "CE_ID", "", "\0", "x"]) | st.text(
    max_size=5
)
HEADERS = st.lists(st.tuples(NAMES, BYTES | st.just(b"application/cloudevents+json")), max_size=5).map(tuple)
TEXT = st.text(st.characters(exclude_categories=()), max_size=10) | st.sampled_from(
    ["\0", "\ud800", "\udfff x", "9" * 5000, "\u202e", "\ufdd0"]
)
NUMBERS = st.sampled_from([-1, 2**63 - 1, 2**63, 10**400, 0.5, 1e400, float("nan"), -0.0, True])
TIMES = st.sampled_from(["0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:60Z"])
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | NUMBERS | TEXT | TIMES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6
)
FIELDS = ("content", "content_base64", "uri", "sequence", "title", "file_name", "media_type", "acl", "metadata", "content_sha256", "x")
TIMESTAMPS = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-1, 0, 2**63 - 1, -(2**63), 253_402_300_799_999, 253_402_300_800_000])
DEEP = [b'{"data":' * 5000, b"[" * 100_000, b'{"a":' * 300 + b"1" + b"}" * 300, b'{"id":' + b"9" * 5000 + b"}", b'{"id":1e99999}']


@st.composite
def changed_events(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Key and value of an event in structured mode, some of whose fields are anything."""
    kind = draw(st.sampled_from([UPSERT, DELETE]))
    data: dict[str, Any] = {"content": "text"} | draw(st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=1))
    event = {"specversion": "1.0", "id": "e", "source": "/wiki", "type": kind, "subject": "page.md", "data": data}
    event |= draw(st.dictionaries(st.sampled_from(["time", "more", *event]), TIMES | ANYTHING, max_size=1))
    subject = event["subject"]
    return (subject.encode("utf-8", "surrogatepass") if isinstance(subject, str) else b"page.md"), json.dumps(event).encode()


@st.composite
def records(draw: st.DrawFn) -> tuple[bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...], int, tuple[str, str] | None]:
    """Key, value, headers, timestamp and what the client could not hand over."""
    unreadable = draw(st.none() | st.none() | st.just((UNREADABLE_RECORD, "headers: a name that is not UTF-8")))
    timestamp = draw(TIMESTAMPS)
    if draw(st.booleans()):
        key, value = draw(changed_events())
        return key, value, draw(st.just(STRUCTURED) | HEADERS.map(lambda more: (*STRUCTURED, *more))), timestamp, unreadable
    return draw(BYTES), draw(BYTES | st.sampled_from(DEEP)), draw(HEADERS), timestamp, unreadable


@settings(max_examples=20)
@given(st.lists(records(), min_size=1, max_size=12))
def test_any_records_land_or_become_dead_letters_and_the_event_behind_them_lands(world: World, given_records: Any) -> None:
    world.clear()
    inlet = world.inlet()
    batch = [
        KafkaRecord(inlet.topic, inlet.partition, offset, timestamp, key, value, headers, unreadable=unreadable)
        for offset, (key, value, headers, timestamp, unreadable) in enumerate(given_records)
    ]
    inlet.skip(len(batch))
    landed = inlet.land(*batch, inlet.upsert("neighbour.md", "text"))
    assert landed.events == len(batch) + 1
    assert world.document("neighbour.md")["content"] == b"text"
    rows = world.rows("SELECT kafka_offset, fate FROM event ORDER BY kafka_offset")
    assert [row["kafka_offset"] for row in rows] == list(range(len(batch) + 1))
    refused = [row["kafka_offset"] for row in rows if row["fate"] == "dead-lettered"]
    letters = world.letters()
    assert [letter["kafka_offset"] for letter in letters] == refused
    read_by_people(world, letters)
    decided = world.rows("SELECT count(*) AS decided FROM outcome WHERE outcome IS NOT NULL")[0]["decided"]
    assert world.app.outbox.publish(world.session) == decided


def read_by_people(world: World, letters: list[dict[str, Any]]) -> None:
    """What they read of the tenant can be written as JSON, for it is on the command line."""
    listed = dead_letters.open_letters(world.app, world.tenant)
    assert Counter(letter.reason for letter in listed) == Counter(letter["reason"] for letter in letters)
    encode(listed)
    for letter in listed[:1]:
        encode(dead_letters.at(world.app, world.tenant, letter.position))
    for letter in [letter for letter in listed if letter.document][:1]:
        encode(explain.explain(world.app, world.tenant, letter.document or ""))


def test_what_nobody_foresaw_in_one_record_is_its_dead_letter_alone_and_says_where(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A header name of another type stands for it: the client never gives one."""
    inlet = world.inlet()
    name: Any = 17
    landed = inlet.land(inlet.raw(b"page.md", b"secret", [(name, b"secret")]), inlet.upsert("neighbour.md", "text"))
    assert landed.reasons == {"unreadable-record": 1}
    assert landed.fates == {"dead-lettered": 1, "landed": 1}
    assert world.letters()[0]["detail"].startswith("AttributeError at contract.py:")
    assert "AttributeError at contract.py:" in caplog.text
    assert "secret" not in caplog.text


def test_an_event_beyond_the_largest_size_is_a_dead_letter_whatever_part_of_it_is_large(world: World) -> None:
    """Compressed, the broker takes any size."""
    inlet, large = world.inlet(), b"x" * MAX_EVENT_BYTES
    landed = inlet.land(
        inlet.raw(b"page.md", large),
        inlet.raw(large, b"{}"),
        inlet.raw(b"page.md", b"{}", [("x", large)]),
        inlet.upsert("neighbour.md", "text"),
    )
    assert landed.reasons == {"event-too-large": 3}
    assert world.document("neighbour.md")["content"] == b"text"
