"""Lag: how far the index is behind what was published, in events and in seconds, for one tenant or for all at once.

An event counts from its publication until it is searchable: first in Kafka, then, landed, in the stages. A failed document is a dead
letter, and no longer counts.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from core.sql import statements
from core.tenancy import Connection
from pipelines.resources import Resources


@dataclass(frozen=True)
class Unlanded:
    """Events in a tenant's topic that have not landed. `oldest`: when the first was published, None if not known."""

    events: int
    oldest: datetime | None

    def plus(self, events: int, since: datetime | None) -> Unlanded:
        """The sum with another partition's."""
        return Unlanded(self.events + events, min((at for at in (self.oldest, since) if at), default=None))


@dataclass(frozen=True)
class Lag:
    """What is not searchable yet: events not landed (None if Kafka does not answer), landed documents, the oldest one's publication."""

    events: int | None
    documents: int
    oldest: datetime | None

    @property
    def seconds(self) -> float | None:
        """The age of the oldest, 0 if nothing waits; None if not known."""
        if self.oldest is not None:
            return max(0.0, (datetime.now(UTC) - self.oldest).total_seconds())
        return 0.0 if self.events == 0 else None

    def fresh(self, target_s: float) -> bool | None:
        """Whether the oldest is at most this old; None if not known."""
        seconds = self.seconds
        return None if seconds is None or (self.events is None and seconds <= target_s) else seconds <= target_s


def lag(resources: Resources, tenant: str) -> Lag:
    """One tenant's lag. Raises Unavailable, and HeadraceError: `unknown-topic` if the topic does not exist, or as Kafka refuses."""
    from events.contract import topic_of
    from events.kafka.topics import unknown_topic

    if tenant not in (waiting := unlanded(resources, [tenant])):
        resources.reader.high_watermarks([topic_of(tenant)])  # raises what Kafka has against the topic
        unknown_topic(topic_of(tenant))  # it exists again
    with resources.session(tenant).transaction() as connection:
        return combined(waiting[tenant], connection)


def combined(waiting: Unlanded | None, connection: Connection) -> Lag:
    """The lag from what waits in Kafka (None: it does not say) and from the tenant's own rows."""
    row = landed(connection)
    since = [at for at in (waiting.oldest if waiting else None, row["oldest"]) if at]
    return Lag(waiting.events if waiting else None, row["documents"], min(since, default=None))


def landed(connection: Connection) -> dict[str, Any]:
    """`documents` that landed and are neither indexed nor failed, and when the `oldest` was published."""
    return connection.execute(_SQL["landed"]).fetchall()[0]


def unlanded(resources: Resources, tenants: Collection[str]) -> dict[str, Unlanded]:
    """What waits in Kafka, by tenant; without tenants whose topic does not exist, or has a partition that Kafka does not answer for.

    For any number of tenants it takes one query to Postgres and three requests to Kafka, and one read of the partitions that are behind.
    Raises Unavailable.
    """
    from events.contract import tenant_of
    from events.kafka.ages import published_at

    positions = _positions(resources, tenants)
    last = resources.reader.answered_high_watermarks(positions)
    at = {place: positions[place[0]].get(place[1], 0) for place in last}
    behind = {place: at[place] for place, end in last.items() if end > at[place]}
    since = published_at(resources.endpoints.kafka_client(), behind)
    found = {tenant_of(topic): Unlanded(0, None) for topic, _ in last}
    for place in behind:
        tenant = tenant_of(place[0])
        found[tenant] = found[tenant].plus(last[place] - at[place], since.get(place))
    return found


def _positions(resources: Resources, tenants: Collection[str]) -> dict[str, dict[int, int]]:
    """Topic → partition → the next offset to read, for topics that exist. Postgres is queried first: a position only grows."""
    from events.contract import topic_of
    from events.positions import Position, current

    stored: dict[str, dict[int, Position]] = {topic_of(tenant): {} for tenant in tenants}
    with resources.database.control() as connection:
        rows = connection.execute(_SQL["positions"], {"tenants": list(tenants)}).fetchall()
    for row in rows:
        topic, partition = topic_of(row.pop("tenant")), row.pop("kafka_partition")
        stored[topic][partition] = Position(**row)
    ids = resources.topics.ids(stored)
    return {topic: current(topic_id, stored[topic]) for topic, topic_id in sorted(ids.items())}


_SQL = statements("pipelines.operations", "sql/lag.sql")
