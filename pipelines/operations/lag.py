"""How far the index is behind what was published, in events and in seconds, for one tenant or for all of them with the same few questions.

An event waits from when it was published until it is searchable: first in Kafka, then, landed, for the stages. What has failed is a dead
letter and waits no more.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from core.errors import HeadraceError
from core.sql import statements
from core.tenancy import Connection
from pipelines.resources import Resources


@dataclass(frozen=True)
class Unlanded:
    """Events that are in a tenant's topic and have not landed. `oldest`: when the first was published, None where that is not known."""

    events: int
    oldest: datetime | None

    def and_also(self, events: int, since: datetime | None) -> Unlanded:
        """With those of another partition."""
        return Unlanded(self.events + events, min((at for at in (self.oldest, since) if at), default=None))


@dataclass(frozen=True)
class Lag:
    """What of a tenant is not searchable yet: events not landed (None: Kafka does not say), documents landed, and since when the oldest."""

    events: int | None
    documents: int
    oldest: datetime | None

    @property
    def seconds(self) -> float | None:
        """How old the oldest is, 0 where nothing waits; None where that is not known."""
        if self.oldest is not None:
            return max(0.0, (datetime.now(UTC) - self.oldest).total_seconds())
        return 0.0 if self.events == 0 else None

    def fresh(self, target_s: float) -> bool | None:
        """Whether the oldest is not older than this; None where that is not known."""
        seconds = self.seconds
        return None if seconds is None or (self.events is None and seconds <= target_s) else seconds <= target_s


def lag(resources: Resources, tenant: str) -> Lag:
    """One tenant's. Raises Unavailable where Kafka or Postgres does not answer, HeadraceError `unknown-topic` where the topic is gone."""
    from events.contract import topic_of

    waiting = unlanded(resources, [tenant]).get(tenant)
    if waiting is None:
        raise HeadraceError(f"Kafka has no topic {topic_of(tenant)}", reason="unknown-topic", remedy="`headrace tenant add` creates it.")
    with resources.session(tenant).transaction() as connection:
        return combined(waiting, connection)


def combined(waiting: Unlanded | None, connection: Connection) -> Lag:
    """What waits in Kafka (None: it does not say) and what has landed, by the tenant's own rows."""
    row = landed(connection)
    since = [at for at in (waiting.oldest if waiting else None, row["oldest"]) if at]
    return Lag(waiting.events if waiting else None, row["documents"], min(since, default=None))


def landed(connection: Connection) -> dict[str, Any]:
    """`documents` that landed and are neither in the index nor known to have failed, and when the `oldest` was published."""
    return connection.execute(_SQL["landed"]).fetchall()[0]


def unlanded(resources: Resources, tenants: Collection[str]) -> dict[str, Unlanded]:
    """What waits in Kafka, by tenant; without those whose topic is not there.

    However many tenants there are, it is one question to Postgres, three to Kafka, and one look at what is behind. Raises Unavailable
    where one of them does not answer.
    """
    from events.contract import tenant_of
    from events.kafka.ages import published_at

    positions = _positions(resources, tenants)
    ends = resources.reader.high_watermarks(positions)
    at = {place: positions[place[0]].get(place[1], 0) for place in ends}
    behind = {place: at[place] for place, end in ends.items() if end > at[place]}
    since = published_at(resources.endpoints.kafka_client(), behind)
    found = {tenant_of(topic): Unlanded(0, None) for topic in positions}
    for place in behind:
        tenant = tenant_of(place[0])
        found[tenant] = found[tenant].and_also(ends[place] - at[place], since.get(place))
    return found


def _positions(resources: Resources, tenants: Collection[str]) -> dict[str, dict[int, int]]:
    """Topic → partition → the next offset to read, of the topics that there are. Postgres is asked first: a position only grows."""
    from events.contract import topic_of
    from events.positions import Position, current

    seen: dict[str, dict[int, Position]] = {topic_of(tenant): {} for tenant in tenants}
    with resources.database.control() as connection:
        rows = connection.execute(_SQL["positions"], {"tenants": list(tenants)}).fetchall()
    for row in rows:
        topic, partition = topic_of(row.pop("tenant")), row.pop("kafka_partition")
        seen[topic][partition] = Position(**row)
    ids = resources.topics.ids(seen)
    return {topic: current(topic_id, seen[topic]) for topic, topic_id in sorted(ids.items())}


_SQL = statements("pipelines.operations", "sql/lag.sql")
