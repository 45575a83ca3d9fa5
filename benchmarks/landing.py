"""Landing: events of 2 KB from Kafka into Postgres with all checks, compared with a bare loop that only copies their bytes.

Each turn publishes the same events (prose, title, access list, metadata, a sequence) for a new tenant and lands them as
`headrace ingest` does: schema, ownership and fencing, sealed content and envelope, event, outcome, position. Then a plain consumer reads
the same records and copies them (binary) with partition and offset into a plain table, committing as often as landing does.
Both clients are connected before the clock starts and have read nothing of the topic; the table is logged.

Keys, medians of the turns:
  events             in each turn
  event_bytes        mean size of a record's key and value
  events_per_s       landed
  bare_events_per_s  copied by the bare loop
  share              events_per_s / bare_events_per_s, of each turn (goal: at least .15)
"""

from __future__ import annotations

import statistics
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from benchmarks import _world
from benchmarks._harness import Unmeasured, note, run, seconds
from benchmarks._texts import peps
from core.schema.migrate import owner
from core.sql import statements
from core.tenancy import Connection
from pipelines.app import LAND_RECORDS, Headrace

CONTENT = 1_650
"""Characters of each document's text; with its attributes, a record of 2 KB."""
PATIENCE_S = 20.0


def options(parser: ArgumentParser) -> None:
    parser.add_argument("--events", type=int, default=6000, help="events in each turn (%(default)s)")
    parser.add_argument("--turns", type=int, default=3, help="turns to measure (%(default)s)")


def measure(data: Path, events: int, turns: int) -> dict[str, Any]:
    prose = b"\n".join(text for _, text in peps(data)).decode(errors="replace")
    with _world.headrace() as headrace:
        _make_table(headrace)
        _turn(headrace, "warm-up", prose, min(events, 500))
        measured = [_turn(headrace, f"turn-{turn}", prose, events) for turn in range(turns)]
    return {"events": events} | {key: statistics.median(turn[key] for turn in measured) for key in measured[0]}


def _turn(headrace: Headrace, tenant: str, prose: str, events: int) -> dict[str, float]:
    from pipelines.governance import tenants

    tenants.add(headrace, tenant)
    _publish(headrace, tenant, prose, events)
    landing = seconds(lambda: _land(headrace, tenant, events))
    moved: list[int] = []
    with _connected(headrace) as consumer, owner(headrace.endpoints.postgres_owner.get_secret_value()) as connection:
        bare = seconds(lambda: moved.extend(_move(consumer, connection, tenant, events)))
    note(f"{tenant}: landed {events / landing:,.0f} events/s, bare {events / bare:,.0f} events/s")
    return {
        "event_bytes": statistics.mean(moved),
        "events_per_s": events / landing,
        "bare_events_per_s": events / bare,
        "share": bare / landing,
    }


def _publish(headrace: Headrace, tenant: str, prose: str, events: int) -> None:
    from events.publish import Publisher

    room = len(prose) - CONTENT
    with Publisher(headrace.endpoints.kafka_client(), tenant, "benchmark:landing") as publisher:
        for number in range(events):
            at = number * CONTENT % room
            publisher.upsert(
                f"handbook/{number:06}.md",
                content=prose[at : at + CONTENT],
                media_type="text/markdown",
                title=f"Chapter {number}",
                acl=["group:service", f"user:{number % 100}"],
                metadata={"language": "en", "team": f"team {number % 10}"},
                sequence=1,
            )


def _land(headrace: Headrace, tenant: str, events: int) -> None:
    landed = headrace.land(tenant)
    if landed.fates != {"landed": events}:
        raise Unmeasured(f"not all of {events} events landed: {dict(landed.fates)}")


# the bare loop


def _make_table(headrace: Headrace) -> None:
    with owner(headrace.endpoints.postgres_owner.get_secret_value()) as connection:
        connection.execute(_SQL["table"])


@contextmanager
def _connected(headrace: Headrace) -> Iterator[Consumer]:
    consumer = Consumer(headrace.endpoints.kafka_client() | {"group.id": "bare", "enable.auto.commit": False})
    try:
        consumer.list_topics(timeout=PATIENCE_S)
        yield consumer
    finally:
        consumer.close()


def _move(consumer: Consumer, connection: Connection, tenant: str, events: int) -> Iterator[int]:
    """Copy the records; yields the bytes of each."""
    from events.contract import topic_of

    partitions = consumer.list_topics(topic_of(tenant), timeout=PATIENCE_S).topics[topic_of(tenant)].partitions
    consumer.assign([TopicPartition(topic_of(tenant), partition, OFFSET_BEGINNING) for partition in partitions])
    left, until = events, monotonic() + PATIENCE_S
    while left:
        messages = consumer.consume(min(LAND_RECORDS, left), 0.2)
        if monotonic() > until:
            raise Unmeasured(f"{left} records did not arrive within {PATIENCE_S:g} s")
        left -= len(messages)
        yield from _copied(connection, messages)


def _copied(connection: Connection, messages: Sequence[Message]) -> list[int]:
    with connection.cursor() as cursor, cursor.copy(_SQL["copy"]) as copy:
        copy.set_types(("int4", "int8", "bytea", "bytea"))
        for message in messages:
            copy.write_row((message.partition(), message.offset(), message.key(), message.value()))
    connection.commit()
    return [len(message) + len(message.key() or b"") for message in messages]


_SQL = statements("benchmarks", "landing.sql")


if __name__ == "__main__":
    run(measure, __doc__, options)
