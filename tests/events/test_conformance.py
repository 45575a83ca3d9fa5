"""What the CloudEvents project's conformance tests and its SDKs' tests hand to a receiver: JSON events, JSON batches, Kafka records.

Each case is one of theirs, as an event of this contract. `IGNORED` are values that they refuse and we do not read: a contract may not begin
to refuse what it ignored (docs/events.md, Versions).
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from events.contract import DELETE, UPSERT, Event, KafkaRecord, Rejected, read
from tests.events.schema_events import NEWEST, events, validator

KEY = b"guide.md"
MINIMAL: dict[str, Any] = {"specversion": "1.0", "id": "e1", "type": DELETE, "source": "https://dms.example.com", "subject": "guide.md"}
PAGE = MINIMAL | {"type": UPSERT, "data": {"content": "text"}}
BINARY = {"ce_specversion": b"1.0", "ce_id": b"e1", "ce_type": DELETE.encode(), "ce_source": b"https://dms.example.com", "ce_subject": KEY}
JSON_EVENT = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"


def sent(value: bytes | None, **headers: bytes | None) -> Event | Rejected:
    return read(KafkaRecord("documents.acme", 0, 5, 1_700_000_000_000, KEY, value, tuple(headers.items())))


def structured(event: object, content_type: str = JSON_EVENT, **headers: bytes) -> Event | Rejected:
    return sent(json.dumps(event).encode(), **{"content-type": content_type.encode()}, **headers)


def refusal(outcome: Event | Rejected) -> str:
    assert isinstance(outcome, Rejected)
    return outcome.reason


# the JSON format


SAME: dict[str, dict[str, Any]] = {
    "null for what is optional": {"datacontenttype": None, "dataschema": None, "time": None, "data": None},
    "null for an extension": {"traceparent": None},
    "a schema of the data": {"dataschema": "https://dms.example.com/schema"},
    "another content type, and no data": {"datacontenttype": "text/plain"},
    "an integer extension": {"number": 10},
    "a boolean extension": {"flag": True},
    "a text extension": {"word": "text"},
    "a binary extension": {"bytes": "TWE="},
    "a timestamp extension": {"when": "2026-03-31T15:12:00Z"},
    "a uri extension": {"link": "https://example.com"},
    "a uri-reference extension": {"path": "//authority/path"},
}


@pytest.mark.parametrize("case", SAME)
def test_an_event_with_what_the_contract_does_not_read_means_the_same(case: str) -> None:
    assert structured(MINIMAL | SAME[case]) == structured(MINIMAL)
    assert isinstance(structured(MINIMAL), Event)


@pytest.mark.parametrize("time", ["T17:31:00Z", "T17:31:00.000000000Z", "T18:31:00+01:00", "T16:31:00-01:00"])
def test_a_time_is_an_instant(time: str) -> None:
    found = structured(MINIMAL | {"time": f"2026-04-05{time}"})
    assert isinstance(found, Event)
    assert found.time == datetime(2026, 4, 5, 17, 31, tzinfo=UTC)


@pytest.mark.parametrize("source", ["#fragment", "//authority/path", "relative", "urn:example:1"])
def test_a_source_is_a_uri_reference(source: str) -> None:
    found = structured(MINIMAL | {"source": source})
    assert isinstance(found, Event)
    assert found.source == source


@pytest.mark.parametrize(
    "content_type", [None, "application/json", "text/json", "application/vnd.api+json", "application/json; charset=utf-8"]
)
@pytest.mark.parametrize("in_base64", [False, True])
def test_data_is_json_of_any_name_as_a_value_or_as_bytes(content_type: str | None, in_base64: bool) -> None:
    data = {"content": "Grüße 🌍", "acl": ["group:a"]}
    carried = {"data_base64": base64.b64encode(json.dumps(data).encode()).decode()} if in_base64 else {"data": data}
    found = structured(MINIMAL | {"type": UPSERT, "datacontenttype": content_type} | carried)
    assert isinstance(found, Event)
    assert (found.content, found.acl) == ("Grüße 🌍".encode(), ("group:a",))


INVALID: dict[str, tuple[dict[str, Any], str]] = {
    "no version": ({"specversion": ...}, "not-cloudevents"),
    "an empty version": ({"specversion": ""}, "not-cloudevents"),
    "an unknown version": ({"specversion": "0.9"}, "not-cloudevents"),
    "a version that is a number": ({"specversion": 1.0}, "not-cloudevents"),
    "a null version": ({"specversion": None}, "not-cloudevents"),
    "no type": ({"type": ...}, "not-cloudevents"),
    "a null type": ({"type": None}, "not-cloudevents"),
    "an empty type": ({"type": ""}, "unknown-type"),
    "no id": ({"id": ...}, "contract-violation"),
    "an empty id": ({"id": ""}, "contract-violation"),
    "a null id": ({"id": None}, "contract-violation"),
    "an id that is a number": ({"id": 25}, "contract-violation"),
    "an id that is an object": ({"id": {"a": "b"}}, "contract-violation"),
    "no source": ({"source": ...}, "contract-violation"),
    "an empty source": ({"source": ""}, "contract-violation"),
    "a null source": ({"source": None}, "contract-violation"),
    "an empty subject": ({"subject": ""}, "contract-violation"),
    "a null subject": ({"subject": None}, "contract-violation"),
    "a time of day": ({"time": "lunchtime"}, "contract-violation"),
    "a time without seconds": ({"time": "2026-04-05T18:31Z"}, "contract-violation"),
    "a time with a strange zone": ({"time": "2026-04-05T18:31:00X"}, "contract-violation"),
    "a time with an impossible zone": ({"time": "2026-04-05T18:31:00+25:00"}, "contract-violation"),
    "a time with a zone of letters": ({"time": "2026-04-05T18:31:00+xx:00"}, "contract-violation"),
    "a time with hours alone in its zone": ({"time": "2026-04-05T18:31:00+05"}, "contract-violation"),
    "a content type that is none": ({"datacontenttype": "xyz", "data": {}}, "contract-violation"),
    "an empty content type": ({"datacontenttype": "", "data": {}}, "contract-violation"),
    "data of another content type": ({"datacontenttype": "text/plain", "data": {}}, "contract-violation"),
    "data that is text": ({"datacontenttype": "text/plain", "data": "simple"}, "contract-violation"),
    "bytes of another content type": ({"datacontenttype": "application/binary", "data_base64": "e30="}, "contract-violation"),
    "data and bytes": ({"data": {}, "data_base64": "e30="}, "contract-violation"),
    "bytes that are a number": ({"data_base64": 10}, "contract-violation"),
}


@pytest.mark.parametrize("case", INVALID)
def test_an_invalid_event_is_refused_with_a_reason(case: str) -> None:
    changes, reason = INVALID[case]
    event = {name: value for name, value in (MINIMAL | changes).items() if value is not ...}
    assert refusal(structured(event)) == reason


IGNORED: dict[str, dict[str, Any]] = {
    "an extension with a capital": {"MyExtension": "x"},
    "an extension with a full stop": {"my.extension": "x"},
    "an extension that is a decimal": {"extension": 1.5},
    "an extension that is a list": {"extension": []},
    "an empty schema of the data": {"dataschema": ""},
}


@pytest.mark.parametrize("case", IGNORED)
def test_an_invalid_extension_is_ignored(case: str) -> None:
    assert structured(MINIMAL | IGNORED[case]) == structured(MINIMAL)


# null, over all valid events

ATTRIBUTES = ("time", "datacontenttype", "dataschema", "data_base64", "traceparent")
FIELDS = tuple(NEWEST["$defs"]["upsert"]["properties"])


@given(events(NEWEST), st.sets(st.sampled_from(ATTRIBUTES)), st.sets(st.sampled_from(FIELDS)), st.sets(st.text("abc", max_size=2)))
def test_null_means_the_same_as_absence(event: dict[str, Any], attributes: set[str], fields: set[str], names: set[str]) -> None:
    """For every attribute and field of a valid event that is optional, and for every name in metadata."""
    data = event.get("data")
    nulled: dict[str, Any] = {**dict.fromkeys(attributes), **event}
    if data is not None:
        metadata = {"metadata": {**dict.fromkeys(names), **data["metadata"]}} if data.get("metadata") else {}
        nulled["data"] = {**dict.fromkeys(fields), **data, **metadata}
    without = event if data is None else event | {"data": {name: value for name, value in data.items() if value is not None}}
    assert validator(NEWEST).is_valid(nulled)
    assert isinstance(as_record(nulled), Event)
    assert as_record(nulled) == as_record(without)


@given(events(NEWEST), st.sets(st.sampled_from([*NEWEST["properties"], *FIELDS])))
def test_the_reader_accepts_what_the_published_schema_accepts(event: dict[str, Any], nulls: set[str]) -> None:
    """Also where null makes an event invalid: in place of what is required."""
    nulled = {name: None if name in nulls else value for name, value in event.items()}
    data: dict[str, Any] = nulled.get("data") or {}
    if data:
        nulled["data"] = {name: None if name in nulls else value for name, value in data.items()}
    assert validator(NEWEST).is_valid(nulled) == isinstance(as_record(nulled, event["subject"]), Event)


def as_record(event: dict[str, Any], key: str | None = None) -> Event | Rejected:
    headers = (("content-type", JSON_EVENT.encode()),)
    return read(
        KafkaRecord("documents.acme", 0, 5, 1_700_000_000_000, (key or event["subject"]).encode(), json.dumps(event).encode(), headers)
    )


# batches


BATCHES = {
    "none": [],
    "one": [MINIMAL],
    "two that are equal": [MINIMAL, MINIMAL],
    "two that differ": [MINIMAL, PAGE],
    "one of another version": [MINIMAL, MINIMAL | {"specversion": "0.9"}],
    "one that is invalid": [{"specversion": "1.0"}],
    "one that is no object": ["text", MINIMAL],
}


@pytest.mark.parametrize("case", BATCHES)
@pytest.mark.parametrize("content_type", [BATCH, f"{BATCH}; charset=utf-8", BATCH.upper()])
def test_a_batch_is_refused_as_a_batch(case: str, content_type: str) -> None:
    outcome = structured(BATCHES[case], content_type)
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, outcome.detail) == ("not-cloudevents", "content-type: a batch, and a record holds one event")


@pytest.mark.parametrize("case", BATCHES)
def test_a_batch_that_claims_to_be_one_event_is_refused(case: str) -> None:
    assert refusal(structured(BATCHES[case])) == "not-cloudevents"


# the Kafka binding


@pytest.mark.parametrize("content_type", [JSON_EVENT, f"{JSON_EVENT}; charset=utf-8", f"{JSON_EVENT};charset=UTF8", JSON_EVENT.upper()])
def test_structured_mode_is_told_by_the_content_type(content_type: str) -> None:
    assert isinstance(structured(PAGE, content_type), Event)


@pytest.mark.parametrize(
    "content_type", ["application/cloudevents", "application/cloudevents+avro", "application/cloudevents+xml", "text/plain"]
)
def test_another_format_is_refused(content_type: str) -> None:
    assert refusal(structured(PAGE, content_type)) == "not-cloudevents"


def test_the_value_of_structured_mode_counts_and_headers_beside_it_do_not() -> None:
    assert structured(PAGE, ce_id=b"another", ce_type=b"another") == structured(PAGE)


@pytest.mark.parametrize("body", [b"", b"{}", b"null", None])
@pytest.mark.parametrize("content_type", [None, b"application/json", b"application/json; charset=utf-8"])
def test_binary_mode_means_the_same_as_structured_mode(body: bytes | None, content_type: bytes | None) -> None:
    assert sent(body, **BINARY, **{"content-type": content_type}) == structured(MINIMAL)


@pytest.mark.parametrize("content_type", [b"application/octet-stream", b"application/xml", b"text/plain"])
def test_a_delete_without_data_may_have_any_content_type(content_type: bytes) -> None:
    for body in (b"", None):
        assert sent(body, **BINARY, **{"content-type": content_type}) == structured(MINIMAL)
    assert refusal(sent(b"{}", **BINARY, **{"content-type": content_type})) == "contract-violation"


def test_extensions_are_headers_and_other_headers_are_ignored() -> None:
    more = {"ce_astring": b"aaa", "ce_anumber": b"10", "ce_LUNCH": b"tacos", "ce_partitionkey": b"other", "ignored": b"\xff"}
    assert sent(b"", **BINARY, **more) == structured(MINIMAL)


def test_names_of_headers_have_no_case() -> None:
    assert sent(b"", **{name.upper(): value for name, value in BINARY.items()}) == structured(MINIMAL)


@pytest.mark.parametrize("name", ["ce_time", "ce_dataschema", "ce_traceparent", "content-type"])
def test_a_header_without_a_value_is_unset(name: str) -> None:
    assert sent(b"", **BINARY, **{name: None}) == structured(MINIMAL)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ce_specversion", "not-cloudevents"),
        ("ce_type", "not-cloudevents"),
        ("ce_id", "contract-violation"),
        ("ce_source", "contract-violation"),
        ("ce_subject", "contract-violation"),
    ],
)
def test_a_header_that_is_required_has_a_value(name: str, reason: str) -> None:
    assert refusal(sent(b"", **BINARY | {name: None})) == reason
    assert refusal(sent(b"", **{given: value for given, value in BINARY.items() if given != name})) == reason


@pytest.mark.parametrize("body", [b'"hello world"', b"Hello World", b"\x00\x01", b"{Something[Not:valid}JSON", b"[]"])
def test_binary_data_that_is_no_json_object_is_refused(body: bytes) -> None:
    assert refusal(sent(body, **BINARY)) == "contract-violation"


def test_a_strange_version_is_refused_in_both_modes() -> None:
    assert refusal(sent(b"", **BINARY | {"ce_specversion": b"11.8"})) == "not-cloudevents"
    assert refusal(structured(MINIMAL | {"specversion": "11.8"})) == "not-cloudevents"


@pytest.mark.parametrize("data", [{"content": "text", "sequence": 3}, b'{"content": "text", "sequence": 3}'])
@pytest.mark.parametrize("write", [to_structured_event, to_binary_event])
def test_what_the_python_sdk_writes_is_read_whether_it_had_values_or_bytes(data: Any, write: Any) -> None:
    time = datetime(2026, 1, 15, 10, 30, 45, tzinfo=UTC)
    event = CloudEvent({name: value for name, value in PAGE.items() if name != "data"} | {"time": time}, data)
    message: KafkaMessage = write(event)
    found = sent(message.value, **message.headers)
    assert isinstance(found, Event)
    assert (found.content, found.sequence, found.time, found.document_name) == (b"text", 3, time, "guide.md")
