"""Publishing document events to Kafka. Needs the extra `kafka`. `docs/events.md` has the contract."""

from __future__ import annotations

import base64
import logging
from collections import Counter
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Annotated, Any
from unicodedata import normalize
from uuid import uuid4

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from headrace_client.errors import HeadraceError, Refused, Unavailable

MOST_BYTES = 8 * 1024 * 1024
"""Of an event. Publish larger content by reference: send its `uri`."""
DELIVERY_S = 60.0
_LOG = logging.getLogger("headrace_client.kafka")
_LOG.addHandler(logging.NullHandler())

Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
Name = Annotated[str, Field(pattern=r"^[^\x00]+$")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Data(_Model):
    sequence: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None


class _Upsert(_Data):
    content: str | None = None
    content_base64: str | None = None
    uri: Name | None = None
    content_sha256: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")] | None = None
    media_type: Text | None = None
    file_name: Text | None = None
    title: Text | None = None
    acl: Annotated[list[Annotated[Name, Field(max_length=256)]], Field(max_length=10_000)] | None = None
    metadata: dict[Text, Text | None] | None = None

    @model_validator(mode="after")
    def _one_content(self) -> _Upsert:
        if sum(one is not None for one in (self.content, self.content_base64, self.uri)) != 1:
            raise ValueError("give content or a uri, and not both")
        if self.content_sha256 is not None and self.uri is None:
            raise ValueError("content_sha256 goes with a uri")
        return self


class _Event(_Model):
    specversion: str = "1.0"
    id: Name
    source: Name
    type: str
    subject: Name
    time: str
    datacontenttype: str = "application/json"
    data: _Upsert | _Data

    @model_validator(mode="after")
    def _short_subject(self) -> _Event:
        if len(self.subject.encode()) > 1024:
            raise ValueError("a document id has at most 1024 bytes")
        return self


class Publisher:
    """Publishes one source's events for one tenant. A context manager that waits for their delivery.

    `kafka`: librdkafka's properties, such as `bootstrap.servers`, and the login of the tenant's publisher. `source`: a URI-reference that
    names the system; the first source to publish a document owns it. Every method raises HeadraceError.
    """

    def __init__(self, kafka: Mapping[str, Any], tenant: str, source: str) -> None:
        self._topic, self._source = f"documents.{tenant}", source
        self._failed: Counter[str] = Counter()
        self._delivered = 0
        try:
            # murmur2, as the Java client: a document's events share a partition, whichever client sends them
            self._producer = Producer(
                {"acks": "all", "enable.idempotence": True, "compression.type": "zstd", "linger.ms": 5, "partitioner": "murmur2_random"}
                | {"delivery.timeout.ms": int(DELIVERY_S * 1000), "message.max.bytes": MOST_BYTES, "logger": _LOG}
                | dict(kafka)
            )
        except KafkaException as error:
            raise HeadraceError(f"Kafka's client does not take this configuration: {error.args[0].name()}", reason="bad-kafka") from None

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.flush()
        else:  # what is queued is still sent; its failures must not hide this error
            self._producer.flush(DELIVERY_S)

    def upsert(
        self,
        document: str,
        content: bytes | str | None = None,
        *,
        acl: Collection[str] | None = None,
        metadata: Mapping[str, str] | None = None,
        time: datetime | None = None,
        **fields: Any,
    ) -> str:
        """Queue a document's new state. Returns the event's id; only `flush` confirms delivery.

        `acl`: who may read it; None is everyone in the tenant, empty is nobody. `time`: with a time zone; now by default. `fields`: `uri`
        in place of the content, `content_sha256`, `media_type`, `file_name`, `title`, `sequence`. Raises Refused (`contract-violation`,
        `event-too-large`).
        """
        if isinstance(acl, str):
            raise Refused("acl is a text, and would be read as its characters", reason="contract-violation", remedy="Give a list.")
        data = {"acl": None if acl is None else list(acl), "metadata": None if metadata is None else dict(metadata), **fields}
        return self._send("headrace.document.upsert.v1", document, _Upsert, {**_content(content), **data}, time)

    def delete(self, document: str, *, sequence: int | None = None, time: datetime | None = None) -> str:
        """Queue a tombstone. A source that numbers its upserts numbers its deletes, too. Returns and raises as `upsert`."""
        return self._send("headrace.document.delete.v1", document, _Data, {"sequence": sequence}, time)

    def flush(self) -> None:
        """Wait until the broker has every queued event. Raises Unavailable (`publish-failed`) with how many it has not, and why."""
        left = self._producer.flush(DELIVERY_S + 5.0)
        failed, delivered = +(self._failed + Counter({"not sent": left})), self._delivered
        self._failed, self._delivered = Counter(), 0
        if failed:
            codes = ", ".join(f"{code} ({count})" for code, count in sorted(failed.items()))
            remedy = "Publish them again: those that were delivered change nothing."
            message = f"{failed.total()} of {failed.total() + delivered} events were not delivered: {codes}"
            raise Unavailable(message, reason="publish-failed", remedy=remedy)

    def _send(self, kind: str, document: str, shape: type[_Data], data: dict[str, Any], time: datetime | None) -> str:
        moment = (time or datetime.now(UTC)).isoformat()
        try:
            event = _Event(id=str(uuid4()), source=self._source, type=kind, subject=document, time=moment, data=shape(**data))
            value = event.model_dump_json(exclude_none=True).encode()
        except (ValidationError, UnicodeError) as error:
            raise Refused(_problem(error), reason="contract-violation", remedy="See docs/events.md.") from None
        if len(value) > MOST_BYTES:
            raise Refused(f"an event of {len(value):,} bytes is more than {MOST_BYTES:,}", reason="event-too-large", remedy="Send a uri.")
        # the same document in another spelling would have another partition
        self._produce(value, normalize("NFC", document).encode())
        return event.id

    def _produce(self, value: bytes, key: bytes) -> None:
        headers: list[tuple[str, str | bytes | None]] = [("content-type", "application/cloudevents+json")]
        while True:
            try:
                self._producer.produce(self._topic, value, key, headers=headers, on_delivery=self._count)
                self._producer.poll(0)
            except BufferError:
                self._producer.poll(0.1)  # the queue is full
            except KafkaException as error:
                raise Unavailable(f"the event cannot be queued: {error.args[0].name()}", reason="publish-failed") from None
            else:
                return

    def _count(self, error: KafkaError | None, _: Message) -> None:
        if error is None:
            self._delivered += 1
        else:
            self._failed[error.name()] += 1


def _content(content: bytes | str | None) -> dict[str, str]:
    if content is None:
        return {}
    return {"content": content} if isinstance(content, str) else {"content_base64": base64.b64encode(content).decode()}


def _problem(error: ValidationError | UnicodeError) -> str:
    """Fields and rules: no value, which may be anybody's."""
    if isinstance(error, UnicodeError):
        return "the event contains a lone surrogate"
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'data'}: {one['msg']}" for one in error.errors(include_input=False))
