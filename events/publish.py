"""Publishing document events, for source systems. Events are read in `events.kafka`; the contract is in `events.contract`."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from time import monotonic
from types import TracebackType
from typing import Any
from uuid import uuid4

from cloudevents.core.bindings.kafka import KafkaMessage, to_structured
from cloudevents.core.exceptions import CloudEventValidationError
from cloudevents.core.v1.event import CloudEvent
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from core.errors import ContractError, HeadraceError
from core.principals import Principals, principals
from events.contract import DELETE, MAX_EVENT_BYTES, TOO_LARGE, UPSERT, KafkaRecord, Rejected, read, topic_of
from events.digests import canonical
from events.kafka.client import ClientErrors
from events.strict_json import StrictJson

BY_REFERENCE = "Publish larger content by reference: put it where Headrace may fetch it, and send its `uri`."

_JSON = StrictJson()
_TEXT_TYPES = frozenset({"application/json", "application/xml", "application/x-ndjson", "application/yaml", "message/rfc822"})
_DELIVERY_S = 60.0
_PRODUCING = {
    "acks": "all",
    "enable.idempotence": True,
    "compression.type": "zstd",
    "linger.ms": 5,
    "delivery.timeout.ms": int(_DELIVERY_S * 1000),
    "message.max.bytes": MAX_EVENT_BYTES,
    # the Java client's, so that a document's events share a partition, whichever of the common clients sends them
    "partitioner": "murmur2_random",
}


class Publisher:
    """Publishes one source's events for one tenant. A context manager that flushes on exit.

    `source` is a URI-reference that names the system; the first source to publish a document owns it.
    Raises TenantError if the tenant's name is not allowed.
    """

    def __init__(self, kafka_client_properties: Mapping[str, Any], tenant: str, source: str) -> None:
        self._topic = topic_of(tenant)
        self._source = source
        self._failed: Counter[int] = Counter()
        self._delivered = 0
        self._errors = ClientErrors()
        with self._errors.translated("connecting"):
            self._producer = Producer(self._errors.configuration(kafka_client_properties, **_PRODUCING))

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.flush()
        else:  # events that are queued are still sent; their failures must not hide this error
            self._producer.flush(_DELIVERY_S)

    def upsert(
        self,
        document_id: str,
        *,
        content: bytes | str | None = None,
        uri: str | None = None,
        media_type: str | None = None,
        file_name: str | None = None,
        title: str | None = None,
        acl: Principals | None = None,
        metadata: Mapping[str, str] | None = None,
        sequence: int | None = None,
        time: datetime | None = None,
        content_sha256: str | None = None,
    ) -> str:
        """Queue a document's new state: its `content`, or its `uri`. Returns the event's id. Only `flush` confirms delivery.

        `acl`: None is everyone in the tenant, empty is nobody. Bytes are sent as text if `media_type` is textual and they are UTF-8.
        `time` (aware) is when the change happened, now by default. `content_sha256` requires `uri`.
        Raises ContractError if the event violates the contract, HeadraceError `bad-principals` and `event-too-large`.
        """
        data = {
            **_content(content, media_type),
            "uri": uri,
            "content_sha256": content_sha256,
            "media_type": media_type,
            "file_name": file_name,
            "title": title,
            "acl": None if acl is None else principals(acl),
            "metadata": None if metadata is None else dict(metadata),
            "sequence": sequence,
        }
        return self._send(UPSERT, document_id, data, time)

    def delete(self, document_id: str, sequence: int | None = None, time: datetime | None = None) -> str:
        """Queue a tombstone. A source that numbers its upserts also numbers its deletes. Returns the event's id; raises like `upsert`."""
        return self._send(DELETE, document_id, {"sequence": sequence}, time)

    def flush(self) -> None:
        """Wait until the broker has acknowledged every queued event.

        Raises HeadraceError: `publish-failed` with counts and Kafka's error codes, `kafka-refused` if the login is refused.
        """
        until = monotonic() + _DELIVERY_S + 5.0
        while self._producer.flush(0.5) and monotonic() < until:
            if self._errors.refusal:
                raise self._errors.translate(self._errors.refusal, "publishing")
        self._failed[KafkaError._MSG_TIMED_OUT] += len(self._producer)  # noqa: SLF001 - the library's public name for it
        failed, delivered = +self._failed, self._delivered
        self._failed, self._delivered = Counter(), 0
        if failed:
            raise _failure(failed, delivered)

    def _send(self, kind: str, document_id: str, data: Mapping[str, Any], time: datetime | None) -> str:
        present = {name: value for name, value in data.items() if value is not None}
        event = _event(kind, document_id, self._source, present, time)
        # a key in another spelling would have another partition
        message = to_structured(event, _JSON, lambda _: canonical(document_id))
        self._check(message)
        self._produce(message)
        return event.get_id()

    def _check(self, message: KafkaMessage) -> None:
        """Raise a violation of the contract at once instead of leaving it to a dead letter."""
        outcome = read(KafkaRecord(self._topic, 0, 0, -1, _key(message), message.value, tuple(message.headers.items())))
        if isinstance(outcome, Rejected):
            remedy = BY_REFERENCE if outcome.reason == TOO_LARGE else "See docs/events.md."
            raise ContractError(outcome.detail, reason=outcome.reason, remedy=remedy)

    def _produce(self, message: KafkaMessage) -> None:
        headers: list[tuple[str, str | bytes | None]] = list(message.headers.items())
        while True:
            try:
                self._producer.produce(self._topic, message.value, _key(message), headers=headers, on_delivery=self._count)
                self._producer.poll(0)
            except BufferError:
                self._producer.poll(0.1)  # the queue is full
            except KafkaException as error:
                raise self._not_queued(error.args[0], len(message.value)) from None
            else:
                return

    def _not_queued(self, error: KafkaError, size: int) -> HeadraceError:
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            return HeadraceError(
                f"an event of {size:,} bytes is more than {MAX_EVENT_BYTES:,}", reason="event-too-large", remedy=BY_REFERENCE
            )
        return self._errors.translate(error, "publishing")

    def _count(self, error: KafkaError | None, _: Message) -> None:
        if error is None:
            self._delivered += 1
        else:
            self._failed[error.code()] += 1


def _event(kind: str, document_id: str, source: str, data: dict[str, Any], time: datetime | None) -> CloudEvent:
    attributes = {"id": str(uuid4()), "source": source, "type": kind, "subject": document_id, "datacontenttype": "application/json"}
    try:
        return CloudEvent(attributes | ({"time": time} if time else {}), data)
    except CloudEventValidationError as error:
        raise ContractError(f"{', '.join(sorted(error.errors))}: not CloudEvents 1.0", remedy="See docs/events.md.") from None


def _key(message: KafkaMessage) -> bytes:
    return message.key if isinstance(message.key, bytes) else (message.key or "").encode("utf-8", "surrogatepass")


def _content(content: bytes | str | None, media_type: str | None) -> dict[str, str]:
    if content is None:
        return {}
    if isinstance(content, str):
        return {"content": content}
    text = _as_text(content, media_type)
    return {"content_base64": base64.b64encode(content).decode()} if text is None else {"content": text}


def _as_text(content: bytes, media_type: str | None) -> str | None:
    """These bytes as text, or None if sending them as text would not restore the same bytes."""
    kind = (media_type or "").split(";")[0].strip().lower()
    if not (kind.startswith("text/") or kind in _TEXT_TYPES or kind.endswith(("+xml", "+json"))) or b"\0" in content:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _failure(failed: Counter[int], delivered: int) -> HeadraceError:
    codes = ", ".join(f"{KafkaError(code).name()} ({count})" for code, count in sorted(failed.items()))
    remedy = BY_REFERENCE if KafkaError.MSG_SIZE_TOO_LARGE in failed else "Publish them again; those that were delivered are `unchanged`."
    return HeadraceError(f"{failed.total()} of {failed.total() + delivered} events: {codes}", reason="publish-failed", remedy=remedy)
