"""Which topic a name stands for: Kafka gives each topic an id, and one that is deleted and made anew has another."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import wait
from time import monotonic
from typing import Any, NoReturn

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from core.errors import HeadraceError
from events.kafka.client import REQUEST_S, Line

_POLL_S = 0.2


class Topics:
    """Asks for topics' ids. Thread-safe. Raises Unavailable where the broker does not answer, and HeadraceError where it refuses."""

    def __init__(self, properties: Mapping[str, Any]) -> None:
        self._line = Line()
        with self._line.translated("connecting"):
            self._client = AdminClient(self._line.configuration(properties))

    def ids(self, topics: Collection[str]) -> dict[str, str]:
        """Topic → id, without the topics that are not there; none is made by asking."""
        if not topics:
            return {}
        asked = self._client.describe_topics(TopicCollection(sorted(topics)), request_timeout=REQUEST_S)
        with self._line.translated("asking for topics"):
            self._wait(list(asked.values()))
            found = {topic: self._id(answer) for topic, answer in asked.items()}
        return {topic: topic_id for topic, topic_id in found.items() if topic_id is not None}

    def id_of(self, topic: str) -> str:
        """Of one topic. Raises HeadraceError `unknown-topic` where it is not there."""
        found = self.ids([topic])
        return found[topic] if topic in found else unknown_topic(topic)

    def _wait(self, answers: list[Any]) -> None:
        """Until all are answered or the login is refused: librdkafka would go on asking until its own time is up."""
        until = monotonic() + 2 * REQUEST_S
        while wait(answers, timeout=_POLL_S).not_done and not self._line.refusal and monotonic() < until:
            self._client.poll(0)

    def _id(self, answer: Any) -> str | None:
        error = answer.exception() if answer.done() else KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001
        if error is None:
            return str(answer.result().topic_id)
        if isinstance(error, KafkaException) and error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return None
        raise error


def unknown_topic(topic: str) -> NoReturn:
    """Raises HeadraceError `unknown-topic`."""
    raise HeadraceError(f"Kafka has no topic {topic}", reason="unknown-topic", remedy="`headrace tenant add` creates it.")
