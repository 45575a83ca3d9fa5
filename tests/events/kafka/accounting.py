"""A tenant whose topic takes every timestamp, and what became of each offset."""

from __future__ import annotations

import logging
import re
from collections import Counter
from typing import Any

from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType  # type: ignore[attr-defined]

from events.contract import UNREADABLE_BATCH, topic_of
from events.kafka.batches import Place
from pipelines.dagster.runtime import Runtime

QUIET: dict[str, Any] = {"logger": logging.getLogger("tests.kafka")}


def accept_any_timestamp(app: Runtime, tenant: str) -> None:
    """As in a topic that others created, with the broker's checks off. No record is old enough to be removed."""
    admin = AdminClient(app.endpoints.kafka_client() | QUIET)
    wanted = {
        "message.timestamp.type": "CreateTime",
        "message.timestamp.before.max.ms": str(2**63 - 1),
        "message.timestamp.after.max.ms": str(2**63 - 1),
        "retention.ms": "-1",
    }
    entries = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in wanted.items()]
    resource = ConfigResource(ResourceType.TOPIC, topic_of(tenant), incremental_configs=entries)
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(10)


def accounted(app: Runtime, tenant: str) -> dict[Place, list[int]]:
    """The offsets of each partition that are accounted for: each by one event, or by the one dead letter of a batch that has it.

    Every refused event has a dead letter at the same place.
    """
    with app.session(tenant).transaction() as connection:
        rows = connection.execute("SELECT kafka_partition, kafka_offset, fate FROM event").fetchall()
        letters = connection.execute("SELECT kafka_partition, kafka_offset, reason, detail FROM dead_letter").fetchall()
    refused = {(row["kafka_partition"], row["kafka_offset"]) for row in rows if row["fate"] == "dead-lettered"}
    assert refused == {(letter["kafka_partition"], letter["kafka_offset"]) for letter in letters}
    found = Counter((row["kafka_partition"], row["kafka_offset"]) for row in rows)
    for letter in letters:
        if letter["reason"] == UNREADABLE_BATCH:
            first, last = map(int, re.findall(r"\d+", letter["detail"])[:2])
            assert first == letter["kafka_offset"]
            found.update((letter["kafka_partition"], offset) for offset in range(first + 1, last + 1))
    assert set(found.values()) <= {1}
    return {(topic_of(tenant), p): sorted(at for q, at in found if q == p) for p in {p for p, _ in found}}


def everything(app: Runtime, tenant: str) -> dict[Place, list[int]]:
    """The offsets of each partition that has any."""
    return {place: list(range(end)) for place, end in app.reader.high_watermarks([topic_of(tenant)]).items() if end}
