"""A tenant at work for the tests of landing, ledger and index: events numbered as a broker would, read back as they stand in Postgres.

Here belong the builders those tests share. Assertions do not, and nothing of ours is replaced.
"""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import count
from time import monotonic, sleep
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from core import artifacts, envelopes
from core.config import Settings
from core.errors import Unavailable
from core.frames import Result
from core.ledger.ledger import Stale, Step
from core.ledger.stage import Session, Stage
from core.principals import Principals
from core.tenancy import Connection
from events.contract import DELETE, UPSERT, KafkaRecord, topic_of
from events.digests import document_key
from events.kafka.batches import Batch
from events.landing import Landed, land
from events.publish import Publisher
from pipelines.app import Headrace
from pipelines.operations import explain
from pipelines.resources import Resources

if TYPE_CHECKING:
    from pipelines.dagster.runtime import Runtime

TABLES = (
    "claim",
    "outcome",
    "chunk_source",
    "chunk",
    "indexed",
    "lexical",
    "term",
    "lexicon",
    "access_list",
    "near_duplicate",
    "hot_band",
    "signature",
    "deduplication",
    "embedding",
    "reindex",
    "canary_query",
    "generation",
    "artifact",
    "stage_record",
    "dead_letter",
    "event",
    "document",
)
STRUCTURED = (("content-type", b"application/cloudevents+json"),)
WIKI = "/wiki"


@dataclass(frozen=True)
class FunctionStage(Stage):
    """A stage made of functions."""

    step: Step
    computing: Callable[[Session, Sequence[Stale], Counter[str]], Sequence[Result]]
    storing: Callable[[Connection, Session, Mapping[str, bytes]], Collection[str]]
    removing: Callable[[Connection, Session, Sequence[str]], Collection[str]] = lambda *_: ()
    batch: int = 64
    revalidates: bool = True

    def compute(self, session: Session, rows: Sequence[Stale], tally: Counter[str]) -> Sequence[Result]:
        return self.computing(session, rows, tally)

    def store(self, connection: Connection, session: Session, payloads: Mapping[str, bytes]) -> Collection[str]:
        return self.storing(connection, session, payloads)

    def remove(self, connection: Connection, session: Session, documents: Sequence[str]) -> Collection[str]:
        return self.removing(connection, session, documents)


class World:
    """One tenant's session, and its rows."""

    def __init__(self, app: Headrace, tenant: str) -> None:
        self.app = app
        self.tenant = tenant
        self.session: Session = app.session(tenant)
        self._partitions = 0

    def inlet(self) -> Inlet:
        """A partition that nothing was read from yet."""
        self._partitions += 1
        return Inlet(self, self._partitions - 1)

    def clear(self) -> None:
        """Every row but the positions gone: the next example of a property starts with nothing."""
        with self.session.transaction() as connection:
            for table in TABLES:
                connection.execute(f"DELETE FROM {table}")

    def cut_off(self, at: int) -> Callable[[], AbstractContextManager[Connection]]:
        """What opens the tenant's transactions until the one of this number, from 1: that one raises Unavailable."""
        numbers = count(1)

        @contextmanager
        def transaction() -> Iterator[Connection]:
            if next(numbers) == at:
                raise Unavailable("cut off")
            with self.session.transaction() as connection:
                yield connection

        return transaction

    def rows(self, query: str, **values: Any) -> list[dict[str, Any]]:
        with self.session.transaction() as connection:
            return connection.execute(query, values).fetchall()

    def everything(self) -> dict[str, list[str]]:
        """Every row of the tenant as text, the positions' too: equal means that nothing was written in between."""
        # as text by the server: a plan that another tenant prepared gives rows of that tenant's type
        query = "SELECT t::text AS row FROM {} t"
        return {table: sorted(row["row"] for row in self.rows(query.format(table))) for table in (*TABLES, "stream_position")}

    def key(self, name: str) -> str:
        return document_key(name, self.session.keys)

    def document(self, name: str) -> dict[str, Any]:
        """The document's row, with its envelope opened and its landed content beside it."""
        row = self.rows("SELECT * FROM document WHERE document = %(document)s", document=self.key(name))[0]
        sealed = row["envelope"]
        row["envelope"] = sealed and envelopes.unseal(self.session.keys, sealed, row["document"])
        return row | {"content": self.artifact("land", name)}

    def artifact(self, stage: str, name: str) -> bytes | None:
        with self.session.transaction() as connection:
            return artifacts.get(connection, self.session.keys, stage, [self.key(name)]).get(self.key(name))

    def record(self, stage: str, name: str) -> dict[str, Any]:
        query = "SELECT * FROM stage_record WHERE stage = %(stage)s AND document = %(document)s"
        return self.rows(query, stage=stage, document=self.key(name))[0]

    def letters(self) -> list[dict[str, Any]]:
        return self.rows("SELECT * FROM dead_letter ORDER BY kafka_partition, kafka_offset, stage")

    @contextmanager
    def until_blocked(self) -> Iterator[None]:
        """Leave the block only when some statement of the pipeline waits for another one's lock."""
        yield
        until = monotonic() + 20
        while not self._waiting():
            assert monotonic() < until, "nothing waits for a lock"
            sleep(0.01)

    def _waiting(self) -> int:
        query = "SELECT count(*) AS waiting FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = current_user"
        # a tenant's role does not see what its own sessions wait for; the login role does
        with self.app.database.control() as connection:
            return int(connection.execute(query).fetchall()[0]["waiting"])


class Inlet:
    """One partition of a tenant's topic, as a consumer sees it: the next offset, and the position its next batch starts from.

    `append_time_s`: when the broker appends the records, in seconds after some time; None if the topic has its publishers' timestamps.
    """

    append_time_s: int | None = None

    def __init__(self, world: World, partition: int) -> None:
        self.world = world
        self.topic = topic_of(world.tenant)
        self.partition = partition
        self.offset = 0
        self.position = 0

    def raw(self, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]] = STRUCTURED) -> KafkaRecord:
        self.offset += 1
        timestamp_ms = 1000 * (1_700_000_000 + (self.append_time_s or 0))
        appended = self.append_time_s is not None
        return KafkaRecord(self.topic, self.partition, self.offset - 1, timestamp_ms, key, value, tuple(headers), appended)

    def event(self, kind: str, name: str, source: str, data: dict[str, Any], **attributes: Any) -> KafkaRecord:
        whole = {"specversion": "1.0", "id": f"e{self.offset}", "source": source, "type": kind, "subject": name, **attributes}
        given = {field: value for field, value in data.items() if value is not None}
        return self.raw(name.encode(), json.dumps(whole | {"data": given}).encode())

    def upsert(
        self, name: str, content: str | bytes | None = "text", sequence: int | None = None, source: str = WIKI, **data: Any
    ) -> KafkaRecord:
        carried = {"content_base64": base64.b64encode(content).decode()} if isinstance(content, bytes) else {"content": content}
        return self.event(UPSERT, name, source, carried | {"sequence": sequence} | data)

    def delete(self, name: str, sequence: int | None = None, source: str = WIKI) -> KafkaRecord:
        return self.event(DELETE, name, source, {"sequence": sequence})

    def null(self, name: str) -> KafkaRecord:
        return self.raw(name.encode(), None, ())

    def skip(self, offsets: int) -> None:
        """A gap, as transactions and compaction leave them."""
        self.offset += offsets

    def batch(self, *records: KafkaRecord) -> Batch:
        """What was made since the last batch, up to where the partition ends now."""
        start, self.position = self.position, self.offset
        return Batch(self.topic, self.partition, start, self.offset, records)

    def land(self, *records: KafkaRecord) -> Landed:
        return self.land_batch(self.batch(*records))

    def land_batch(self, batch: Batch) -> Landed:
        with self.world.session.transaction() as connection:
            return land(connection, self.world.session.keys, batch)

    def committed(self) -> int | None:
        rows = self.world.rows("SELECT next_offset FROM stream_position WHERE kafka_partition = %(partition)s", partition=self.partition)
        return rows[0]["next_offset"] if rows else None


def publish(
    app: Resources,
    tenant: str,
    sequence: int | None = 1,
    documents: Mapping[str, str | bytes | None] = MappingProxyType({}),
    *,
    source: str = WIKI,
    acl: Principals | None = None,
    title: str | None = None,
    media_type: str | None = None,
    **contents: str | bytes | None,
) -> None:
    """Publish through Kafka, by document name: an upsert of each content, a delete for None. `guide_md` stands for `guide.md`."""
    with Publisher(app.endpoints.kafka_client(), tenant, source) as publisher:
        for name, content in {**documents, **contents}.items():
            document = re.sub(r"_(md|txt|docx)$", r".\1", name)
            if content is None:
                publisher.delete(document, sequence=sequence)
            else:
                publisher.upsert(document, content=content, sequence=sequence, acl=acl, title=title, media_type=media_type)


def keep_publishers_timestamps(app: Resources, tenant: str) -> None:
    """Let records have the timestamps that they are produced with, as in a topic that Headrace may not configure."""
    entry = ConfigEntry("message.timestamp.type", "CreateTime", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic_of(tenant), incremental_configs=[entry])
    admin = AdminClient(app.endpoints.kafka_client())
    [done] = admin.incremental_alter_configs([resource]).values()
    done.result(10)


def rows(app: Headrace, tenant: str, query: str) -> list[dict[str, Any]]:
    with app.session(tenant).transaction() as connection:
        return connection.execute(query).fetchall()


def verdict(app: Headrace, tenant: str, name: str) -> str:
    """The sentence that `explain` has for the one document of this id."""
    return explain.explain(app, tenant, name)[0].verdict


def servers_of(app: Resources) -> dict[str, Any]:
    """The sections of a configuration that uses the session's Kafka and Neo4j."""
    kafka = app.endpoints.kafka_client()
    return {
        "kafka": {
            "bootstrap": kafka["bootstrap.servers"],
            "protocol": kafka["security.protocol"],
            "mechanism": kafka["sasl.mechanism"],
            "username": kafka["sasl.username"],
            "password": kafka["sasl.password"],
        },
        "neo4j": {"url": app.endpoints.neo4j_url, "password": app.endpoints.neo4j_password.get_secret_value()},
    }


@contextmanager
def own_postgres(app: Resources, configuration: Mapping[str, Any]) -> Iterator[Runtime]:
    """Headrace on a Postgres of its own, so that it finds none of the other tests' tenants, with the session's models."""
    import services
    from core.schema.migrate import migrate
    from pipelines.dagster.runtime import Runtime

    settings = Settings.model_validate(configuration)
    endpoints = services.up(settings)
    try:
        migrate(endpoints.postgres_owner.get_secret_value())
        with Runtime(settings, endpoints) as headrace:
            headrace.models.__dict__.update({name: getattr(app.models, name) for name in ("redactor", "embedder", "chunker", "extractors")})
            yield headrace
    finally:
        services.down(settings)
