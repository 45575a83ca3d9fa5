"""How this folder talks to librdkafka: quiet clients, and its errors as ours.

What is read or written with a client belongs in `events.kafka.reader` and `events.publish`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from core.errors import HeadraceError, Unavailable

LOG = logging.getLogger("headrace.kafka")
"""Where librdkafka's own lines go; without a logger it writes to stderr."""
# and so would `logging` itself, where the program has configured nothing
LOG.addHandler(logging.NullHandler())

REQUEST_S = 10.0
"""How long one question to the broker may take."""

MAX_EVENT_BYTES = 8 * 1024 * 1024
"""What a topic of document events takes and a publisher sends, before compression. Larger content goes by reference."""

_REFUSED = frozenset(
    {
        KafkaError._AUTHENTICATION,  # noqa: SLF001 - confluent's public names for local errors begin with an underscore
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
_SILENT = frozenset(
    {
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._MSG_TIMED_OUT,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError._DESTROY,  # noqa: SLF001
    }
)


class Line:
    """What a client last heard about its connection.

    A refused login only shows in librdkafka's error callback; the call that waited for it merely times out.
    `silence`: why no broker is reached, until something is heard again.
    """

    def __init__(self) -> None:
        self.refusal: KafkaError | None = None
        self.silence: str | None = None

    def __call__(self, error: KafkaError) -> None:
        if error.code() in _REFUSED:
            self.refusal = error
        elif error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001
            self.silence = f"Kafka: {error.name()}"

    def heard(self) -> None:
        self.silence = None

    def configuration(self, properties: Mapping[str, Any], **ours: Any) -> dict[str, Any]:
        """librdkafka's configuration: ours, then what the caller set."""
        return {"log.connection.close": False, **ours, **properties, "error_cb": self, "logger": LOG}

    @contextmanager
    def translated(self, doing: str) -> Iterator[None]:
        """Raise Unavailable or HeadraceError for KafkaException. `doing` ends "Kafka: … while"."""
        try:
            yield
        except KafkaException as error:
            raise self.ours(error.args[0], doing) from error

    def ours(self, error: KafkaError, doing: str) -> HeadraceError:
        refusal = error if error.code() in _REFUSED else self.refusal
        if refusal:
            return HeadraceError(
                f"Kafka: {refusal.name()} while {doing}", reason="kafka-refused", remedy="Check the user, its password and its ACLs."
            )
        return _unrefused(error, doing)


def _unrefused(error: KafkaError, doing: str) -> HeadraceError:
    if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART or error.code() == KafkaError._UNKNOWN_TOPIC:  # noqa: SLF001
        return HeadraceError(f"Kafka: no such topic or partition while {doing}", reason="unknown-topic")
    if error.code() in _SILENT or error.retriable():
        return Unavailable(f"Kafka: {error.name()} while {doing}", remedy="`headrace status` and `headrace doctor` say more.")
    return HeadraceError(f"Kafka: {error.name()} while {doing}", reason="kafka-error")
