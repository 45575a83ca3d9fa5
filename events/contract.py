"""The contract of a document event: what a record on `documents.<tenant>` must be, and what it means.

The newest schema in `schema/` is the contract's one definition and `docs/events.md` explains it. Here a record becomes an `Event`, or
a `Rejected` that says why without quoting it. No Kafka client, no database: `events.kafka.reader` reads records, `events.landing` keeps
events.
"""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import jsonschema_rs
import msgspec
from cloudevents.core.bindings.common import CONTENT_TYPE_HEADER
from cloudevents.core.bindings.kafka import CE_PREFIX, KafkaMessage, from_binary, from_structured

from core.errors import ContractError, TenantError
from core.tenancy import valid_tenant
from events.strict_json import REPLACING, StrictJson, Unchecked

UPSERT = "headrace.document.upsert.v1"
DELETE = "headrace.document.delete.v1"
EVERYONE = "*"

SCHEMA = "schema/document-event.v1.0.json"
"""The newest published schema. Older ones stay beside it, and nothing valid under one of them is refused here: see docs/events.md."""

NOT_CLOUDEVENTS = "not-cloudevents"
VIOLATION = "contract-violation"
UNSUPPORTED_VERSION = "unsupported-version"
UNKNOWN_TYPE = "unknown-type"
KEY_MISMATCH = "key-mismatch"

Operation = Literal["upsert", "delete"]

_DOCUMENTS = "documents."
_STRUCTURED = "application/cloudevents"
_TYPE = re.compile(r"headrace\.document\.(upsert|delete)\.v([0-9]+)")
_WHOLE_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_MAX_KEY_BYTES = 1024
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS = 253_402_300_799_999  # the end of the year 9999, the last one that datetime has
_NO_SOURCE = "urn:headrace:no-source"
_JSON = StrictJson()


class _Positioned(msgspec.Struct, frozen=True):
    """Something at a place in a topic. Its repr is the place alone: the rest may be personal."""

    topic: str
    partition: int
    offset: int

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.topic}[{self.partition}]@{self.offset})"


class KafkaRecord(_Positioned, frozen=True):
    """A record as the broker gives it. `timestamp_ms` is since 1970, or -1 where the broker has none."""

    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


class Event(_Positioned, frozen=True):
    """A change of one document.

    `document_name` is the CloudEvents subject. `sequence` is the offset where the publisher gave none. `source` is empty for a bare
    null value. `acl` is sorted and distinct: `("*",)` everyone in the tenant, `()` nobody. An upsert has `content` or `uri`.
    No text holds a NUL or a lone surrogate.
    """

    event_id: str
    document_name: str
    source: str
    operation: Operation
    sequence: int
    sequence_explicit: bool
    time: datetime | None
    received: datetime
    media_type: str | None = None
    file_name: str | None = None
    title: str | None = None
    acl: tuple[str, ...] = (EVERYONE,)
    metadata: dict[str, str] = {}
    content: bytes | None = None
    uri: str | None = None
    content_sha256: str | None = None


class Rejected(_Positioned, frozen=True):
    """A record outside the contract. `detail` names a schema keyword and the contract's own properties, never anything of the record's."""

    reason: str
    detail: str
    key: bytes | None
    received: datetime


def topic_of(tenant: str) -> str:
    """The topic that a tenant's events arrive on. Raises TenantError where the name is not allowed."""
    return _DOCUMENTS + valid_tenant(tenant)


def tenant_of(topic: str) -> str:
    """The tenant whose topic this is. Raises TenantError where it is nobody's."""
    if not topic.startswith(_DOCUMENTS):
        raise TenantError(f"not a topic of document events: {topic[:60]!r}", reason="bad-topic")
    return valid_tenant(topic.removeprefix(_DOCUMENTS))


def read(message: KafkaRecord) -> Event | Rejected:
    """What the record says, or why it may not say it. Never raises, whatever the bytes."""
    try:
        return _event(message, _checked(message))
    except ContractError as refusal:
        received = _received(message.timestamp_ms)
        return Rejected(message.topic, message.partition, message.offset, refusal.reason, refusal.detail, message.key, received)


def _checked(message: KafkaRecord) -> dict[str, Any]:
    """The event as one JSON object that satisfies the schema, under its own key."""
    instance = _null_value(message) if message.value is None else _decoded(message, message.value)
    _check_type(instance)
    _check_schema(instance)
    _check_key(message.key, instance["subject"])
    return instance


def _decoded(message: KafkaRecord, value: bytes) -> dict[str, Any]:
    headers = _headers(message)
    media_type = headers.get(CONTENT_TYPE_HEADER, b"").split(b";")[0].strip().lower().decode("utf-8", "replace")
    if media_type == JSON_EVENT:
        return _structured(headers, value)
    if media_type.startswith(_STRUCTURED) or f"{CE_PREFIX}specversion" not in headers:
        raise ContractError("headers: neither structured JSON nor binary mode", reason=NOT_CLOUDEVENTS)
    return _binary(headers, value)


JSON_EVENT = _JSON.get_content_type()


def _headers(message: KafkaRecord) -> dict[str, bytes]:
    """The headers that CloudEvents defines, names in lower case. Others may hold anything, and may come twice."""
    ours: dict[str, bytes] = {}
    for given, value in message.headers:
        name = given.lower()
        if name == CONTENT_TYPE_HEADER or name.startswith(CE_PREFIX):
            if value is None or name in ours:
                raise ContractError("headers: one without a value, or twice", reason=NOT_CLOUDEVENTS)
            ours[name] = value
    return ours


def _structured(headers: dict[str, bytes], value: bytes) -> dict[str, Any]:
    try:
        return _whole(from_structured(KafkaMessage(headers, None, value), _JSON, Unchecked))
    except ValueError:
        raise ContractError("value: not a JSON object", reason=NOT_CLOUDEVENTS) from None


def _binary(headers: dict[str, bytes], value: bytes) -> dict[str, Any]:
    instance = _attributes(headers)
    try:
        data = _JSON.read_data(value, None)
    except ValueError:
        raise ContractError("data: not a JSON object") from None
    return instance if data is None else {**instance, "data": data}


def _attributes(headers: dict[str, bytes]) -> dict[str, Any]:
    """What the library makes of the headers, but for the time: it would take more than RFC 3339."""
    timeless = {name: value for name, value in headers.items() if name != "ce_time"}
    try:
        instance = _whole(from_binary(KafkaMessage(timeless, None, b""), _JSON, Unchecked))
        return instance | {"time": headers["ce_time"].decode()} if "ce_time" in headers else instance
    except ValueError:
        raise ContractError("headers: not UTF-8", reason=NOT_CLOUDEVENTS) from None


def _whole(event: object) -> dict[str, Any]:
    if not isinstance(event, Unchecked):
        raise TypeError("the library made another event than it was told to")
    return event.structured()


def _null_value(message: KafkaRecord) -> dict[str, Any]:
    """A null value is a delete of its key, unless its headers say that it is something else; then that fails its own checks."""
    given = _attributes({name: value for name, value in _headers(message).items() if name != CONTENT_TYPE_HEADER})
    defaults = {
        "specversion": "1.0",
        "id": f"{message.topic}:{message.partition}:{message.offset}",
        "source": _NO_SOURCE,
        "type": DELETE,
        "subject": _key_text(message.key),
    }
    sequence = given.pop("sequence", None)
    return defaults | given | ({"data": {"sequence": _number(sequence)}} if sequence is not None and _deletes(given) else {})


def _deletes(attributes: dict[str, Any]) -> bool:
    return bool(attributes.get("type", DELETE) == DELETE)


def _key_text(key: bytes | None) -> str:
    try:
        return (key or b"").decode()
    except UnicodeDecodeError:
        raise ContractError("key: not UTF-8", reason=KEY_MISMATCH) from None


def _number(text: str) -> int:
    if not _WHOLE_NUMBER.fullmatch(text):
        raise ContractError("sequence: type")
    return int(text)


def _check_type(instance: dict[str, Any]) -> None:
    name = instance.get("type")
    if instance.get("specversion") != "1.0" or not isinstance(name, str):
        raise ContractError("specversion, type: CloudEvents 1.0 has both", reason=NOT_CLOUDEVENTS)
    kind = _TYPE.fullmatch(name)
    if kind is None:
        raise ContractError("type: enum", reason=UNKNOWN_TYPE)
    if kind[2] != "1":
        raise ContractError("type: enum", reason=UNSUPPORTED_VERSION)


def _check_schema(instance: dict[str, Any]) -> None:
    try:
        _validator().validate(instance)
    except jsonschema_rs.ValidationError as error:
        raise ContractError(_explained(error)) from None
    except UnicodeEncodeError:
        raise ContractError("unicode: lone surrogate") from None
    except ValueError:
        raise ContractError("value: nested too deep") from None


def _check_key(key: bytes | None, subject: str) -> None:
    if key is None:
        raise ContractError("key: required", reason=KEY_MISMATCH)
    if len(key) > _MAX_KEY_BYTES:
        raise ContractError("subject: maxLength")
    if key != subject.encode():
        raise ContractError("key, subject: not the same", reason=KEY_MISMATCH)


def _explained(error: jsonschema_rs.ValidationError) -> str:
    """Where and which keyword. Names that are not the contract's own (of metadata, of added fields) become `*`."""
    names = [name if name in _property_names() else "*" for name in error.instance_path if isinstance(name, str)]
    if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Required):
        names.append(error.kind.property)
    return f"{'.'.join(names) or 'event'}: {error.kind.name}"


@cache
def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(files("events").joinpath(SCHEMA).read_text(encoding="utf-8"))
    return schema


@cache
def _validator() -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(_schema(), validate_formats=True, ignore_unknown_formats=False, offline=True)


@cache
def _property_names() -> frozenset[str]:
    places = (_schema(), *_schema()["$defs"].values())
    return frozenset(name for place in places for name in place.get("properties", {}))


def _event(message: KafkaRecord, instance: dict[str, Any]) -> Event:
    data = instance.get("data") or {}
    sequence = _sequence(data)
    return Event(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        event_id=instance["id"],
        document_name=instance["subject"],
        source="" if instance["source"] == _NO_SOURCE else instance["source"],
        sequence=message.offset if sequence is None else sequence,
        sequence_explicit=sequence is not None,
        time=_time(instance.get("time")),
        received=_received(message.timestamp_ms),
        **({"operation": "delete"} if instance["type"] == DELETE else _upserted(data)),
    )


def _upserted(data: dict[str, Any]) -> dict[str, Any]:
    sha256 = data.get("content_sha256")
    return {
        "operation": "upsert",
        "media_type": data.get("media_type"),
        "file_name": data.get("file_name"),
        "title": data.get("title"),
        "acl": tuple(sorted(set(data.get("acl", (EVERYONE,))))),
        "metadata": data.get("metadata", {}),
        "content": _content(data),
        "uri": data.get("uri"),
        "content_sha256": sha256.lower() if sha256 else None,
    }


def _sequence(data: dict[str, Any]) -> int | None:
    """JSON Schema calls 1.0 an integer; beyond 2^53 a float has already lost digits, so a publisher that writes floats is refused."""
    sequence = data.get("sequence")
    if sequence is not None and type(sequence) is not int:
        raise ContractError("data.sequence: type")
    return sequence


def _content(data: dict[str, Any]) -> bytes | None:
    if "content" in data:
        text: str = data["content"]
        return text.replace("\0", "\ufffd").encode("utf-8", REPLACING)
    if "content_base64" in data:
        return _unbase64(data["content_base64"])
    return None


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise ContractError("data.content_base64: contentEncoding") from None


def _time(text: str | None) -> datetime | None:
    """The schema has seen RFC 3339; what is left to refuse is a leap second and a year that `datetime` does not have."""
    try:
        return None if text is None else datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ContractError("time: format") from None


def _received(timestamp_ms: int) -> datetime:
    """Producers may write any 64 bits as a timestamp; it is bounded to the years 1970 to 9999."""
    return _EPOCH + timedelta(milliseconds=max(0, min(timestamp_ms, _LAST_MS)))
