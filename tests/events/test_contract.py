"""The contract of an event: what is accepted, what is refused with which reason, and that no bytes make it raise."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta, timezone
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import TenantError
from events.contract import DELETE, UPSERT, Event, KafkaRecord, Rejected, read, tenant_of, topic_of
from events.validation import SCHEMA

STRUCTURED = (("content-type", b"application/cloudevents+json; charset=utf-8"),)
SECRET = "Ada Lovelace"


def event(**changes: Any) -> dict[str, Any]:
    """A valid structured upsert; `data` is merged, `None` removes."""
    data = {"content": "text"} | changes.pop("data", {})
    whole = {"specversion": "1.0", "id": "e1", "source": "/wiki", "type": UPSERT, "subject": "doc-1", "data": data} | changes
    whole["data"] = {name: value for name, value in data.items() if value is not ...}
    return {name: value for name, value in whole.items() if value is not ...}


def without_data(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in event(**changes).items() if name != "data"}


def record(value: object, key: bytes | None = b"doc-1", headers: Any = STRUCTURED, **place: Any) -> KafkaRecord:
    payload = value if isinstance(value, bytes) or value is None else json.dumps(value).encode()
    return KafkaRecord("documents.acme", 2, place.get("offset", 41), place.get("timestamp_ms", 1_700_000_000_000), key, payload, headers)


def binary(data: bytes | None, *more: tuple[str, bytes | None], kind: str = UPSERT, key: bytes = b"doc-1") -> KafkaRecord:
    ce = {"specversion": "1.0", "id": "e1", "source": "/wiki", "type": kind, "subject": "doc-1"}
    headers = (*((f"ce_{name}", text.encode()) for name, text in ce.items()), ("content-type", b"application/json"), *more)
    return record(data, key, headers)


def accepted(message: KafkaRecord) -> Event:
    outcome = read(message)
    assert isinstance(outcome, Event), outcome.reason + " " + outcome.detail
    return outcome


def rejected(message: KafkaRecord) -> tuple[str, str]:
    outcome = read(message)
    assert isinstance(outcome, Rejected)
    assert (outcome.topic, outcome.partition, outcome.offset, outcome.key) == (message.topic, 2, message.offset, message.key)
    return outcome.reason, outcome.detail


def test_a_structured_upsert_is_read_with_all_fields() -> None:
    data = {
        "sequence": 7,
        "media_type": "text/markdown",
        "file_name": "a.md",
        "title": "A",
        "acl": ["b", "a", "b"],
        "metadata": {"lang": "de"},
        "content": "Grüße 🌍",
    }
    found = accepted(record(event(data=data, time="2024-05-06T07:08:09.5+02:00")))
    assert (found.topic, found.partition, found.offset) == ("documents.acme", 2, 41)
    assert (found.event_id, found.document_name, found.source, found.operation) == ("e1", "doc-1", "/wiki", "upsert")
    assert (found.sequence, found.sequence_explicit) == (7, True)
    assert found.time == datetime(2024, 5, 6, 5, 8, 9, 500_000, tzinfo=UTC)
    assert found.time.tzinfo is UTC
    assert found.received == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert (found.media_type, found.file_name, found.title) == ("text/markdown", "a.md", "A")
    assert (found.acl, found.metadata, found.content) == (("a", "b"), {"lang": "de"}, "Grüße 🌍".encode())
    assert (found.uri, found.content_sha256) == (None, None)


def test_binary_mode_means_the_same_as_structured_mode() -> None:
    data = {"sequence": 7, "acl": [], "content": "text"}
    whole = accepted(record(event(data=data, time="2024-05-06T07:08:09Z")))
    split = accepted(binary(json.dumps(data).encode(), ("ce_time", b"2024-05-06T07:08:09Z")))
    assert whole == split


def test_data_in_base64_means_the_same_as_data() -> None:
    data = {"sequence": 7, "acl": [], "content": "Grüße"}
    encoded = base64.b64encode(json.dumps(data).encode()).decode()
    assert accepted(record(without_data(data_base64=encoded))) == accepted(record(event(data=data)))
    assert accepted(record(without_data(type=DELETE, data_base64="e30="))) == accepted(record(without_data(type=DELETE)))


def test_other_headers_may_have_any_value() -> None:
    accepted(binary(b'{"content":"x"}', ("traceparent", b"\xff\xfe"), ("retries", None), ("retries", b"2")))


def test_optional_fields_have_defaults() -> None:
    found = accepted(record(event(), offset=99))
    assert (found.sequence, found.sequence_explicit, found.time) == (99, False, None)
    assert (found.acl, found.metadata, found.media_type) == (("*",), {}, None)


def test_an_empty_acl_is_nobody_and_not_everyone() -> None:
    assert accepted(record(event(data={"acl": []}))).acl == ()


def test_base64_content_arrives_as_bytes() -> None:
    payload = bytes(range(256))
    data = {"content": ..., "content_base64": base64.b64encode(payload).decode()}
    assert accepted(record(event(data=data))).content == payload


def test_content_by_reference_keeps_its_hash_in_lower_case() -> None:
    found = accepted(record(event(data={"content": ..., "uri": "https://x.example/a.pdf", "content_sha256": "AB" * 32})))
    assert (found.content, found.uri, found.content_sha256) == (None, "https://x.example/a.pdf", "ab" * 32)


def test_a_delete_needs_no_data() -> None:
    found = accepted(record({name: value for name, value in event(type=DELETE).items() if name != "data"}))
    assert (found.operation, found.sequence, found.sequence_explicit, found.content) == ("delete", 41, False, None)
    assert accepted(record(event(type=DELETE, data={"content": ..., "sequence": 3}))).sequence == 3
    assert accepted(binary(b"", kind=DELETE)).operation == "delete"


def test_a_null_value_is_a_delete() -> None:
    bare = accepted(record(None, headers=()))
    assert (bare.operation, bare.document_name, bare.source, bare.sequence_explicit) == ("delete", "doc-1", "", False)
    explicit = accepted(record(None, headers=(("ce_sequence", b"12"), ("ce_source", b"/wiki"))))
    assert (explicit.sequence, explicit.sequence_explicit, explicit.source) == (12, True, "/wiki")
    assert accepted(binary(None, kind=DELETE)).event_id == "e1"


def test_a_null_value_with_the_type_of_an_upsert_is_refused() -> None:
    assert rejected(binary(None)) == ("contract-violation", "data: required")


def test_additive_fields_are_accepted() -> None:
    accepted(record(event(traceparent="00-1", data={"colour": "red", "nested": [{"a": 1}]})))


REFUSED = {
    "no headers at all": (record(event(), headers=()), "not-cloudevents"),
    "plain JSON": (record(event(), headers=(("content-type", b"application/json"),)), "not-cloudevents"),
    "a batch": (record(event(), headers=(("content-type", b"application/cloudevents-batch+json"),)), "not-cloudevents"),
    "another format": (record(event(), headers=(("content-type", b"application/cloudevents+avro"),)), "not-cloudevents"),
    "not JSON": (record(b"{"), "not-cloudevents"),
    "not UTF-8": (record(b'{"a":"\xff"}'), "not-cloudevents"),
    "an array": (record(b"[]"), "not-cloudevents"),
    "a key twice": (record(b'{"specversion":"1.0","specversion":"1.0"}'), "not-cloudevents"),
    "NaN": (record(event(data={"x": float("nan")})), "not-cloudevents"),
    "an endless number": (record(b'{"a":' + b"1" * 5000 + b"}"), "not-cloudevents"),
    "nested without end": (record(b'{"a":' * 100_000 + b"1" + b"}" * 100_000), "not-cloudevents"),
    "an old version of CloudEvents": (record(event(specversion="0.3")), "not-cloudevents"),
    "a type that is no text": (record(event(type=1)), "not-cloudevents"),
    "a header twice": (binary(b'{"content":"x"}', ("CE_id", b"e2")), "not-cloudevents"),
    "a header twice, once without value": (binary(b'{"content":"x"}', ("ce_id", None)), "not-cloudevents"),
    "a header that is not UTF-8": (binary(b'{"content":"x"}', ("ce_time", b"\xff")), "not-cloudevents"),
    "another event": (record(event(type="com.example.created")), "unknown-type"),
    "a look-alike": (record(event(type=UPSERT + ".2")), "unknown-type"),
    "the next major version": (record(event(type="headrace.document.upsert.v2")), "unsupported-version"),
    "another key": (record(event(), key=b"doc-2"), "key-mismatch"),
    "no key": (record(event(), key=None), "key-mismatch"),
    "a null value under no text": (record(None, key=b"\xff"), "key-mismatch"),
    "a null value under no key": (record(None, key=None), "contract-violation"),
    "a null value with a strange sequence": (record(None, headers=(("ce_sequence", b"1e3"),)), "contract-violation"),
    "no source": (record(event(source=...)), "contract-violation"),
    "no id": (record(event(id=...)), "contract-violation"),
    "no subject": (record(event(subject=...)), "contract-violation"),
    "an empty subject": (record(event(subject=""), key=b""), "contract-violation"),
    "a subject of 1025 bytes": (record(event(subject="ä" * 512 + "x"), key=("ä" * 512 + "x").encode()), "contract-violation"),
    "a source with spaces": (record(event(source="my wiki")), "contract-violation"),
    "a time without an offset": (record(event(time="2024-05-06T07:08:09")), "contract-violation"),
    "a time that is a date": (binary(b'{"content":"x"}', ("ce_time", b"2024-05-06")), "contract-violation"),
    "the year 0": (record(event(time="0000-01-01T00:00:00Z")), "contract-violation"),
    "binary data that is no JSON": (binary(b"hello"), "contract-violation"),
    "data that is text": (record(event() | {"data": "hello"}), "contract-violation"),
    "data in base64 that is empty": (record(without_data(data_base64="e30=")), "contract-violation"),
    "data in base64 that is no JSON": (record(without_data(data_base64="aGVsbG8=")), "contract-violation"),
    "data in base64 that is broken": (record(without_data(type=DELETE, data_base64="e30")), "contract-violation"),
    "data in base64 that is a number": (record(without_data(data_base64=10)), "contract-violation"),
    "data, and data in base64": (record(event(data_base64="e30=")), "contract-violation"),
    "null data, and data in base64": (record(event(data_base64="e30=") | {"data": None}), "contract-violation"),
    "an upsert with null data": (record(event() | {"data": None}), "contract-violation"),
    "an upsert with null data in base64": (record(without_data(data_base64=None)), "contract-violation"),
    "an upsert with nothing but nulls": (record(event(data=dict.fromkeys(("content", "content_base64", "uri")))), "contract-violation"),
    "a hash with a null uri": (record(event(data={"content_sha256": "ab" * 32, "uri": None})), "contract-violation"),
    "a null principal": (record(event(data={"acl": ["a", None]})), "contract-violation"),
    "XML data": (record(event(datacontenttype="text/xml")), "contract-violation"),
    "no content": (record(event(data={"content": ...})), "contract-violation"),
    "two contents": (record(event(data={"uri": "file:///a"})), "contract-violation"),
    "broken base64": (record(event(data={"content": ..., "content_base64": "a*b="})), "contract-violation"),
    "a hash without a uri": (record(event(data={"content_sha256": "ab" * 32})), "contract-violation"),
    "a relative uri": (record(event(data={"content": ..., "uri": "a/b.pdf"})), "contract-violation"),
    "a sequence as a float": (record(event(data={"sequence": 1.0})), "contract-violation"),
    "a sequence as a boolean": (record(event(data={"sequence": True})), "contract-violation"),
    "a sequence as text": (record(event(data={"sequence": "1"})), "contract-violation"),
    "a sequence below 0": (record(event(data={"sequence": -1})), "contract-violation"),
    "a sequence beyond 63 bits": (record(event(data={"sequence": 2**63})), "contract-violation"),
    "10001 principals": (record(event(data={"acl": ["a"] * 10_001})), "contract-violation"),
    "an empty principal": (record(event(data={"acl": [""]})), "contract-violation"),
    "a long principal": (record(event(data={"acl": ["a" * 257]})), "contract-violation"),
    "one principal, no list": (record(event(data={"acl": "*"})), "contract-violation"),
    "metadata that nests": (record(event(data={"metadata": {"a": {}}})), "contract-violation"),
    "a NUL in the title": (record(event(data={"title": "a\0"})), "contract-violation"),
    "a NUL in the subject": (record(event(subject="a\0"), key=b"a\0"), "contract-violation"),
    "a NUL in the acl": (record(event(data={"acl": ["a\0"]})), "contract-violation"),
    "a NUL in metadata": (record(event(data={"metadata": {"a": "\0"}})), "contract-violation"),
    "a NUL in a key of metadata": (record(event(data={"metadata": {"\0": "a"}})), "contract-violation"),
    "half a character in the source": (record(event(source="\ud800")), "contract-violation"),
    "half a character in metadata": (record(event(data={"metadata": {"\udfff": "a"}})), "contract-violation"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_a_reason(case: str) -> None:
    message, reason = REFUSED[case]
    assert rejected(message)[0] == reason


@pytest.mark.parametrize("sequence", [0, 2**53 + 1, 2**63 - 1])
def test_a_sequence_has_63_bits(sequence: int) -> None:
    assert accepted(record(event(data={"sequence": sequence}))).sequence == sequence


def test_nul_and_lone_surrogates_are_replaced_in_content() -> None:
    assert accepted(record(event(data={"content": "a\0b\ud800c\udc00\ud83d\ude00"}))).content == "a\ufffdb\ufffdc\ufffd\U0001f600".encode()


@pytest.mark.parametrize("timestamp_ms", [-(2**63), -1, 0, 2**63 - 1])
def test_any_timestamp_of_a_broker_is_a_time(timestamp_ms: int) -> None:
    found = accepted(record(event(), timestamp_ms=timestamp_ms))
    assert datetime(1970, 1, 1, tzinfo=UTC) <= found.received < datetime(10_000 - 1, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


def test_the_detail_names_the_property_and_the_keyword() -> None:
    assert rejected(record(event(source=...))) == ("contract-violation", "source: required")
    assert rejected(record(event(data={"acl": ["a", "b" * 257]}))) == ("contract-violation", "data.acl: maxLength")
    assert rejected(record(event(data={"metadata": {SECRET: 1}}))) == ("contract-violation", "data.metadata.*: type")


def test_a_repr_shows_the_position_only() -> None:
    message = record(event(subject=SECRET, data={"title": SECRET}), key=SECRET.encode())
    assert repr(read(message)) == "Event(documents.acme[2]@41)"
    assert repr(message) == "KafkaRecord(documents.acme[2]@41)"
    assert repr(read(record(event(), key=SECRET.encode()))) == "Rejected(documents.acme[2]@41)"


def test_the_schema_is_a_schema_and_agrees_with_another_validator() -> None:
    schema = json.loads(files("events").joinpath(SCHEMA).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    theirs = jsonschema.Draft202012Validator(schema)
    assert theirs.is_valid(event(data={"sequence": 1, "acl": ["*"], "metadata": {"a": "b"}}))
    assert not theirs.is_valid(event(data={"acl": [""]}))
    assert not theirs.is_valid(event(data={"uri": "file:///a"}))


@pytest.mark.parametrize("tenant", ["a", "acme", "a-1", "x" * 40])
def test_topics_are_named_after_tenants(tenant: str) -> None:
    assert tenant_of(topic_of(tenant)) == tenant


@pytest.mark.parametrize("topic", ["outcomes.acme", "documents.", "documents.A", "documents.a.b", "documents.a_b", "acme"])
def test_a_topic_without_a_valid_tenant_is_refused(topic: str) -> None:
    with pytest.raises(TenantError):
        tenant_of(topic)


def texts(outcome: Event) -> list[str]:
    optional = (outcome.media_type, outcome.file_name, outcome.title, outcome.uri)
    return [
        outcome.event_id,
        outcome.document_name,
        outcome.source,
        *outcome.acl,
        *outcome.metadata,
        *outcome.metadata.values(),
        *filter(None, optional),
    ]


def check(outcome: Event | Rejected) -> None:
    """Assert what is true of every result."""
    assert outcome.received.utcoffset() == timedelta(0)
    if isinstance(outcome, Rejected):
        assert outcome.reason in {"not-cloudevents", "contract-violation", "unsupported-version", "unknown-type", "key-mismatch"}
        assert SECRET not in outcome.detail
        return
    assert all("\0" not in text and text.encode() for text in texts(outcome) if text)
    assert 0 <= outcome.sequence < 2**63
    assert 1 <= len(outcome.document_name.encode()) <= 1024
    assert outcome.acl == tuple(sorted(set(outcome.acl)))
    assert (outcome.content is None) + (outcome.uri is None) == (1 if outcome.operation == "upsert" else 2)
    assert outcome.time is None or outcome.time.tzinfo is UTC


HEADER_NAMES = st.sampled_from(
    [
        "content-type",
        "Content-Type",
        "ce_specversion",
        "ce_type",
        "ce_id",
        "ce_source",
        "ce_subject",
        "ce_time",
        "ce_sequence",
        "ce_data",
        "ce_",
        "x",
    ]
)
HEADER_VALUES = (
    st.none()
    | st.binary(max_size=30)
    | st.sampled_from([b"1.0", UPSERT.encode(), DELETE.encode(), b"d", b"application/cloudevents+json", b"2024-01-01"])
)
HEADERS = st.lists(st.tuples(HEADER_NAMES | st.text(max_size=8), HEADER_VALUES), max_size=9).map(tuple)


@given(
    st.builds(
        KafkaRecord,
        st.just("documents.acme"),
        st.integers(0, 9),
        st.integers(0, 2**63 - 1),
        st.integers(-(2**63), 2**63 - 1),
        st.none() | st.binary(max_size=12) | st.just(b"d"),
        st.none() | st.binary(max_size=60) | st.just(b'{"content":"x"}'),
        HEADERS,
    )
)
def test_no_bytes_whatever_make_it_raise(message: KafkaRecord) -> None:
    check(read(message))


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)
DATA_NAMES = [
    "sequence",
    "media_type",
    "file_name",
    "title",
    "acl",
    "metadata",
    "content",
    "content_base64",
    "uri",
    "content_sha256",
    SECRET,
]
LIKELY = (
    st.sampled_from([SECRET, [SECRET], {SECRET: SECRET}, {SECRET: 1}, SECRET * 100, [SECRET * 100], "file:///a", "e30=", 5, "ab" * 32])
    | st.lists(ANY_TEXT, max_size=3)
    | st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=3)
)


@given(
    st.dictionaries(
        st.sampled_from(["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"]), JSON, max_size=2
    ),
    st.dictionaries(st.sampled_from(DATA_NAMES), JSON | LIKELY | st.just(...), max_size=4),
    st.sampled_from([UPSERT, DELETE]),
)
def test_a_mutated_event_is_an_event_or_refused_and_is_never_quoted(attributes: dict[str, Any], data: dict[str, Any], kind: str) -> None:
    whole = event(type=kind, data=data) | attributes
    subject = whole.get("subject")
    key = subject.encode("utf-8", "surrogatepass") if isinstance(subject, str) else b"doc-1"
    check(read(record(json.dumps(whole).encode(), key)))


@given(st.binary(), st.integers(0, 400), st.integers(0, 3))
def test_a_damaged_event_never_raises(noise: bytes, at: int, removed: int) -> None:
    whole = json.dumps(event(data={"acl": ["a"], "metadata": {"a": "b"}, "sequence": 4})).encode()
    check(read(record(whole[:at] + noise + whole[at + removed :])))


@given(st.datetimes(timezones=st.just(UTC)), st.integers(-23 * 60, 23 * 60))
def test_any_time_with_an_offset_becomes_the_same_instant_in_utc(instant: datetime, minutes: int) -> None:
    instant = max(min(instant, datetime(9998, 1, 1, tzinfo=UTC)), datetime(2, 1, 1, tzinfo=UTC))
    elsewhere = instant.astimezone(timezone(timedelta(minutes=minutes)))
    assert accepted(record(event(time=elsewhere.isoformat()))).time == instant
