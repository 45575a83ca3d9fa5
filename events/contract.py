"""The contract of a document event: which records of `documents.<tenant>` are valid, and what they mean.

The newest schema in `schema/` defines the contract (`events.validation`) and `docs/events.md` explains it. `read` turns a record into an
`Event`, or into a `Rejected` that gives the reason without quoting the record. No Kafka client and no database: `events.kafka` reads
records, `events.landing` stores events.
"""

from __future__ import annotations

import base64
import logging
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec
from cloudevents.core.bindings.common import CONTENT_TYPE_HEADER
from cloudevents.core.bindings.kafka import CE_PREFIX, KafkaMessage, from_binary, from_structured

from core.errors import ContractError, TenantError, is_crash, place
from core.principals import EVERYONE
from core.tenancy import valid_tenant
from events.digests import canonical, canonical_key
from events.strict_json import REPLACING, StrictJson, Unchecked
from events.validation import check_schema

UPSERT = "headrace.document.upsert.v1"
DELETE = "headrace.document.delete.v1"

NOT_CLOUDEVENTS = "not-cloudevents"
VIOLATION = "contract-violation"
UNSUPPORTED_VERSION = "unsupported-version"
UNKNOWN_TYPE = "unknown-type"
KEY_MISMATCH = "key-mismatch"
TOO_LARGE = "event-too-large"
UNREADABLE_RECORD = "unreadable-record"
UNREADABLE_BATCH = "unreadable-batch"

MAX_EVENT_BYTES = 8 * 1024 * 1024
"""The largest event that a topic accepts, a publisher sends and landing takes, before compression. Larger content goes by reference."""

Operation = Literal["upsert", "delete"]

_LOG = logging.getLogger("headrace.events")
_DOCUMENTS = "documents."
_STRUCTURED = "application/cloudevents"
_BATCH = "application/cloudevents-batch"
_TYPE = re.compile(r"headrace\.document\.(upsert|delete)\.v([0-9]+)")
_WHOLE_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_MAX_KEY_BYTES = 1024
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS = 253_402_300_799_999  # the end of the year 9999, the last one that datetime has
_NO_SOURCE = "urn:headrace:no-source"
_JSON = StrictJson()


class _Positioned(msgspec.Struct, frozen=True):
    """A record's position. The repr shows the position only: everything else may be personal data."""

    topic: str
    partition: int
    offset: int

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.topic}[{self.partition}]@{self.offset})"


class KafkaRecord(_Positioned, frozen=True):
    """A record as read from the broker. `timestamp_ms` is in milliseconds since 1970, -1 if the broker has none.

    `appended`: the timestamp is the broker's, from when it appended the record, and not the publisher's.
    `unreadable`: reason and detail of what the Kafka client could not hand over; the rest is what it could.
    """

    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    appended: bool = False
    unreadable: tuple[str, str] | None = None

    @property
    def size(self) -> int:
        """The bytes of its key, value and headers."""
        headers = sum(len(name.encode("utf-8", "surrogatepass")) + len(value or b"") for name, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers


class Event(_Positioned, frozen=True):
    """A change of one document.

    `document_name` is the CloudEvents subject as it was sent; all its spellings are one document (`events.digests`). `sequence` is the
    offset if the publisher set none. `appended_at` is when the broker appended the record, None if its topic does not keep that. `source`
    is empty for a null value without `ce_source`. `acl` is sorted and distinct: `("*",)` is everyone in the tenant, `()` nobody. An upsert
    has `content` or `uri`. No text contains a NUL or a lone surrogate.
    """

    event_id: str
    document_name: str
    source: str
    operation: Operation
    sequence: int
    sequence_explicit: bool
    time: datetime | None
    received: datetime
    appended_at: datetime | None = None
    media_type: str | None = None
    file_name: str | None = None
    title: str | None = None
    acl: tuple[str, ...] = (EVERYONE,)
    metadata: dict[str, str] = {}
    content: bytes | None = None
    uri: str | None = None
    content_sha256: str | None = None


class Rejected(_Positioned, frozen=True):
    """A record that violates the contract. `detail` names a schema keyword and the contract's properties; it never quotes the record."""

    reason: str
    detail: str
    key: bytes | None
    received: datetime


def topic_of(tenant: str) -> str:
    """The topic of a tenant's document events. Raises TenantError if the name is not allowed."""
    return _DOCUMENTS + valid_tenant(tenant)


def tenant_of(topic: str) -> str:
    """The tenant of a topic of document events. Raises TenantError for any other topic."""
    if not topic.startswith(_DOCUMENTS):
        raise TenantError(f"not a topic of document events: {topic[:60]!r}", reason="bad-topic")
    return valid_tenant(topic.removeprefix(_DOCUMENTS))


def read(message: KafkaRecord) -> Event | Rejected:
    """The record's event, or why it is rejected. Never raises, whatever the bytes: an unexpected exception rejects this record only."""
    try:
        return _event(message, _checked(message))
    except ContractError as refusal:
        return _rejected(message, refusal.reason, refusal.detail)
    except BaseException as error:
        if not is_crash(error):
            raise
        _LOG.error("%r could not be read: %s", message, place(error))
        return _rejected(message, UNREADABLE_RECORD, place(error))


def _rejected(message: KafkaRecord, reason: str, detail: str) -> Rejected:
    received = _received(message.timestamp_ms)
    return Rejected(message.topic, message.partition, message.offset, reason, detail, message.key, received)


def _checked(message: KafkaRecord) -> dict[str, Any]:
    """The event as one JSON object, checked against its type, the schema and the record's key."""
    if message.unreadable is not None:
        reason, detail = message.unreadable
        raise ContractError(detail, reason=reason)
    if message.size > MAX_EVENT_BYTES:
        raise ContractError(f"{message.size:,} bytes, more than {MAX_EVENT_BYTES:,}", reason=TOO_LARGE)
    instance = _null_value(message) if message.value is None else _decoded(message, message.value)
    _check_type(instance)
    instance = _with_data(instance)
    check_schema(instance)
    _check_key(message.key, instance["subject"])
    return instance


def _decoded(message: KafkaRecord, value: bytes) -> dict[str, Any]:
    headers = _headers(message)
    media_type = headers.get(CONTENT_TYPE_HEADER, b"").split(b";")[0].strip().lower().decode("utf-8", "replace")
    if media_type == JSON_EVENT:
        return _structured(headers, value)
    if media_type.startswith(_BATCH):
        raise ContractError("content-type: a batch, and a record holds one event", reason=NOT_CLOUDEVENTS)
    if media_type.startswith(_STRUCTURED) or f"{CE_PREFIX}specversion" not in headers:
        raise ContractError("headers: neither structured JSON nor binary mode", reason=NOT_CLOUDEVENTS)
    return _binary(headers, value)


JSON_EVENT = _JSON.get_content_type()


def _headers(message: KafkaRecord) -> dict[str, bytes]:
    """The headers that CloudEvents defines and that have a value, with lower-case names. Others may have any value, and may repeat."""
    defined: dict[str, bytes | None] = {}
    for raw_name, value in message.headers:
        name = raw_name.lower()
        if name == CONTENT_TYPE_HEADER or name.startswith(CE_PREFIX):
            if name in defined:
                raise ContractError("headers: one twice", reason=NOT_CLOUDEVENTS)
            defined[name] = value
    return {name: value for name, value in defined.items() if value is not None}


def _structured(headers: dict[str, bytes], value: bytes) -> dict[str, Any]:
    try:
        return _whole(from_structured(KafkaMessage(headers, None, value), _JSON, Unchecked))
    except ValueError:
        raise ContractError("value: not a JSON object", reason=NOT_CLOUDEVENTS) from None


def _binary(headers: dict[str, bytes], value: bytes) -> dict[str, Any]:
    return _attributes(headers) | _data(value)


def _data(body: bytes) -> dict[str, Any]:
    """The field `data`, or nothing if the body is empty."""
    if body.strip() == b"null":
        return {"data": None}
    try:
        data = _JSON.read_data(body, None)
    except ValueError:
        raise ContractError("data: not a JSON object") from None
    return {} if data is None else {"data": data}


def _with_data(instance: dict[str, Any]) -> dict[str, Any]:
    """The event with `data` in place of `data_base64`: libraries write the latter for data that they were given as bytes."""
    encoded = instance.get("data_base64")
    if not isinstance(encoded, str) or "data" in instance:
        return instance
    rest = {name: value for name, value in instance.items() if name != "data_base64"}
    return rest | _data(_unbase64(encoded, "data_base64"))


def _attributes(headers: dict[str, bytes]) -> dict[str, Any]:
    """The attributes that the library reads from the headers, except the time: it would accept more than RFC 3339."""
    timeless = {name: value for name, value in headers.items() if name != "ce_time"}
    try:
        instance = _whole(from_binary(KafkaMessage(timeless, None, b""), _JSON, Unchecked))
        return instance | {"time": headers["ce_time"].decode()} if "ce_time" in headers else instance
    except ValueError:
        raise ContractError("headers: not UTF-8", reason=NOT_CLOUDEVENTS) from None


def _whole(event: object) -> dict[str, Any]:
    if not isinstance(event, Unchecked):
        raise TypeError("the cloudevents library returned another class than the requested one")
    return event.structured()


def _null_value(message: KafkaRecord) -> dict[str, Any]:
    """A delete of the record's key, overridden by the record's headers; an upsert without data then fails the schema."""
    attributes = _attributes({name: value for name, value in _headers(message).items() if name != CONTENT_TYPE_HEADER})
    defaults = {
        "specversion": "1.0",
        "id": f"{message.topic}:{message.partition}:{message.offset}",
        "source": _NO_SOURCE,
        "type": DELETE,
        "subject": _key_text(message.key),
    }
    sequence = attributes.pop("sequence", None)
    data = {"data": {"sequence": _number(sequence)}} if sequence is not None and _deletes(attributes) else {}
    return defaults | attributes | data


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


def _check_key(key: bytes | None, subject: str) -> None:
    if key is None:
        raise ContractError("key: required", reason=KEY_MISMATCH)
    if len(key) > _MAX_KEY_BYTES:
        raise ContractError("subject: maxLength")
    if canonical_key(key) != canonical(subject).encode():
        raise ContractError("key, subject: not the same", reason=KEY_MISMATCH)


def _event(message: KafkaRecord, instance: dict[str, Any]) -> Event:
    data = _without_nulls(instance.get("data") or {})
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
        appended_at=_received(message.timestamp_ms) if message.appended else None,
        **({"operation": "delete"} if instance["type"] == DELETE else _upserted(data)),
    )


def _without_nulls(fields: dict[str, Any]) -> dict[str, Any]:
    """Null means unset, as for the attributes of a CloudEvent (JSON format 1.0.2, section 2.2)."""
    return {name: value for name, value in fields.items() if value is not None}


def _upserted(data: dict[str, Any]) -> dict[str, Any]:
    sha256 = data.get("content_sha256")
    return {
        "operation": "upsert",
        "media_type": data.get("media_type"),
        "file_name": data.get("file_name"),
        "title": data.get("title"),
        "acl": tuple(sorted(set(data.get("acl", (EVERYONE,))))),
        "metadata": _without_nulls(data.get("metadata", {})),
        "content": _content(data),
        "uri": data.get("uri"),
        "content_sha256": sha256.lower() if sha256 else None,
    }


def _sequence(data: dict[str, Any]) -> int | None:
    """JSON Schema accepts 1.0 as an integer; a float has lost digits beyond 2^53, so floats are refused."""
    sequence = data.get("sequence")
    if sequence is not None and type(sequence) is not int:
        raise ContractError("data.sequence: type")
    return sequence


def _content(data: dict[str, Any]) -> bytes | None:
    if "content" in data:
        text: str = data["content"]
        return text.replace("\0", "\ufffd").encode("utf-8", REPLACING)
    if "content_base64" in data:
        return _unbase64(data["content_base64"], "data.content_base64")
    return None


def _unbase64(text: str, field: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise ContractError(f"{field}: contentEncoding") from None


def _time(text: str | None) -> datetime | None:
    """The schema has checked RFC 3339; a leap second, or a year outside the range of `datetime`, is refused here."""
    try:
        return None if text is None else datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ContractError("time: format") from None


def _received(timestamp_ms: int) -> datetime:
    """Bounded to the years 1970 to 9999: producers may write any 64 bits as a timestamp."""
    return _EPOCH + timedelta(milliseconds=max(0, min(timestamp_ms, _LAST_MS)))
