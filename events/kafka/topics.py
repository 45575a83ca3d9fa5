"""A tenant's topics: their names, creating and deleting them, and which topic a name stands for.

Kafka gives each topic an id; a topic that is deleted and recreated under the same name gets another one. Records are read in
`events.kafka.reader`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from time import monotonic, sleep
from typing import Any, NoReturn

from confluent_kafka import KafkaError, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
    TopicDescription,
)

from core.errors import HeadraceError, Unavailable
from core.tenancy import valid_tenant
from events.contract import MAX_EVENT_BYTES, topic_of
from events.kafka.admin import Admin
from events.kafka.client import LOG, NO_LEADER, REQUEST_S

_POLL_S = 0.05


def outcomes_of(tenant: str) -> str:
    """The topic that a tenant's outcomes are published to. Raises TenantError if the name is not allowed."""
    return f"outcomes.{valid_tenant(tenant)}"


def ensure_topics(properties: Mapping[str, Any], tenant: str, partitions: int, replication: int) -> None:
    """Create the tenant's two topics if they are missing.

    Existing topics keep their partitions: more of them would put a key's next events elsewhere. An existing topic of documents is changed
    as `keep_append_times` does. Raises Unavailable if the broker does not answer, or has no leader for a partition within 10 seconds.
    """
    config = {"max.message.bytes": str(MAX_EVENT_BYTES), **_APPEND_TIMES}
    topics = [NewTopic(topic_of(tenant), partitions, replication, config=config), NewTopic(outcomes_of(tenant), partitions, replication)]
    with Admin(properties) as admin:
        futures = admin.client.create_topics(topics, operation_timeout=REQUEST_S)
        for future in futures.values():
            admin.result(future, "creating topics", ignored=KafkaError.TOPIC_ALREADY_EXISTS)
        _await_leaders(admin, [topic.topic for topic in topics])
    if futures[topic_of(tenant)].exception():  # it existed
        keep_append_times(properties, tenant)


def _await_leaders(admin: Admin, topics: Collection[str]) -> None:
    """Wait until the broker knows the topics and their leaders. The controller has created topics before brokers read of it."""
    until = monotonic() + REQUEST_S
    while not all(map(_has_leaders, _described(admin, topics).values())):
        if monotonic() > until:
            raise Unavailable(f"Kafka has no leader for {', '.join(topics)} yet", reason=NO_LEADER, remedy="Try again in a moment.")
        sleep(_POLL_S)


def _has_leaders(topic: TopicDescription | None) -> bool:
    return topic is not None and all(partition.leader for partition in topic.partitions)


def _described(admin: Admin, topics: Collection[str]) -> dict[str, TopicDescription | None]:
    """Topic → its description, or None if it does not exist; the request creates none."""
    futures = admin.client.describe_topics(TopicCollection(sorted(topics)), request_timeout=REQUEST_S)
    return {topic: admin.result(future, "asking for topics", ignored=KafkaError.UNKNOWN_TOPIC_OR_PART) for topic, future in futures.items()}


_APPEND_TIMES = {"message.timestamp.type": "LogAppendTime"}


def keep_append_times(properties: Mapping[str, Any], tenant: str) -> bool:
    """Let the broker stamp the records of the tenant's documents with the time at which it appends them, which orders two partitions.

    Returns False if this login may not configure the topic, a policy of the cluster forbids it, or there is no such topic. Raises
    Unavailable if the broker does not answer.
    """
    entries = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in _APPEND_TIMES.items()]
    resource = ConfigResource(ResourceType.TOPIC, topic_of(tenant), incremental_configs=entries)
    with Admin(properties) as admin:
        try:
            for future in admin.client.incremental_alter_configs([resource], request_timeout=REQUEST_S).values():
                admin.result(future, "configuring a topic")
        except Unavailable:
            raise
        except HeadraceError as refusal:
            LOG.warning("%s keeps its publishers' timestamps: %s", topic_of(tenant), refusal)
            return False
    return True


def delete_topics(properties: Mapping[str, Any], tenant: str) -> None:
    """Delete the tenant's two topics and their records. A topic that does not exist is no error."""
    names = [topic_of(tenant), outcomes_of(tenant)]
    with Admin(properties) as admin:
        for future in admin.client.delete_topics(names, operation_timeout=REQUEST_S).values():
            admin.result(future, "deleting topics", ignored=KafkaError.UNKNOWN_TOPIC_OR_PART)


class Topics:
    """Looks up topic ids. Thread-safe. Raises Unavailable if the broker does not answer, HeadraceError if it refuses."""

    def __init__(self, properties: Mapping[str, Any]) -> None:
        self._admin = Admin(properties)

    def ids(self, topics: Collection[str]) -> dict[str, str]:
        """Topic → id, without the topics that do not exist; the request creates none."""
        if not topics:
            return {}
        found = _described(self._admin, topics)
        return {topic: str(description.topic_id) for topic, description in found.items() if description is not None}

    def id_of(self, topic: str) -> str:
        """The id of one topic. Raises HeadraceError `unknown-topic` if it does not exist."""
        found = self.ids([topic])
        return found[topic] if topic in found else unknown_topic(topic)


def unknown_topic(topic: str) -> NoReturn:
    """Raises HeadraceError `unknown-topic`."""
    raise HeadraceError(f"Kafka has no topic {topic}", reason="unknown-topic", remedy="`headrace tenant add` creates it.")
