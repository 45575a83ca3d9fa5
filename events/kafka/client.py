"""What every Kafka client of ours shares: quiet logging, and librdkafka's errors translated to ours.

Topics are administered in `events.kafka.topics`; records are read in `events.kafka.reader` and `events.kafka.group` and published in
`events.publish` and `events.outcomes`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from core.errors import HeadraceError, Unavailable

LOG = logging.getLogger("headrace.kafka")
"""Receives librdkafka's own log lines; without a logger librdkafka writes them to stderr."""
# without a handler, `logging` would write them to stderr too if the program has configured nothing
LOG.addHandler(logging.NullHandler())

REQUEST_S = 10.0
"""Timeout of one request to the broker."""

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
_UNREACHABLE = frozenset(
    {
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._MSG_TIMED_OUT,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError._DESTROY,  # noqa: SLF001
    }
)

ELECTING = frozenset({KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE})
"""A partition has no leader at the moment: its topic was just created, or its broker restarts. confluent-kafka calls it final."""

NO_LEADER = "no-leader"
"""The reason of errors that `ELECTING` caused."""


class KafkaUnavailable(Unavailable):
    """No broker answers."""


class ClientErrors:
    """The error callback of one client: records what librdkafka reports about the connection, and translates its errors.

    librdkafka reports a refused login in this callback only; the call that waits for the login merely times out.
    `refusal`: the last refusal, or None. `outage`: why no broker is reached, or None.
    """

    def __init__(self) -> None:
        self.refusal: KafkaError | None = None
        self.outage: str | None = None

    def __call__(self, error: KafkaError) -> None:
        if error.code() in _REFUSED:
            self.refusal = error
        elif error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001
            self.outage = f"Kafka: {error.name()}"

    def clear_outage(self) -> None:
        """A broker has answered."""
        self.outage = None

    def configuration(self, properties: Mapping[str, Any], **defaults: Any) -> dict[str, Any]:
        """librdkafka's configuration: `defaults`, overridden by `properties`, with this object as the error callback."""
        return {"log.connection.close": False, **defaults, **properties, "error_cb": self, "logger": LOG}

    @contextmanager
    def translated(self, doing: str) -> Iterator[None]:
        """Raise Unavailable or HeadraceError for KafkaException. `doing` completes "Kafka: … while"."""
        try:
            yield
        except KafkaException as error:
            raise self.translate(error.args[0], doing) from error

    def translate(self, error: KafkaError, doing: str) -> HeadraceError:
        """Our error for librdkafka's; `kafka-refused` if the broker has refused this client, whatever `error` is."""
        refusal = error if error.code() in _REFUSED else self.refusal
        if refusal:
            return HeadraceError(
                f"Kafka: {refusal.name()} while {doing}", reason="kafka-refused", remedy="Check the user, its password and its ACLs."
            )
        return _unrefused(error, doing)


def _unrefused(error: KafkaError, doing: str) -> HeadraceError:
    if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART or error.code() == KafkaError._UNKNOWN_TOPIC:  # noqa: SLF001
        return HeadraceError(f"Kafka: no such topic or partition while {doing}", reason="unknown-topic")
    if error.code() in ELECTING:
        return Unavailable(f"Kafka: {error.name()} while {doing}", reason=NO_LEADER, remedy="Wait: a leader is elected within seconds.")
    if error.code() in _UNREACHABLE or error.retriable():
        return KafkaUnavailable(f"Kafka: {error.name()} while {doing}", remedy="`headrace status` and `headrace doctor` say more.")
    return HeadraceError(f"Kafka: {error.name()} while {doing}", reason="kafka-error")
