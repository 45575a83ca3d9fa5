"""Read what is stored for a tenant (landed documents, searchable passages, graph, ledger, outcomes) in a form that can be compared.

`TenantState` is what Postgres stores, by document digest. `contents` has names instead of digests, and the original values instead of
surrogates: it is equal for two tenants that received the same records, although their keys differ. What is right or wrong is decided in
`_verdict`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from benchmarks._workload import name_of
from core.records import decode
from core.sql import statements
from core.tenancy import Connection
from events.digests import canonical_key
from events.kafka.topics import outcomes_of
from events.outcomes import Outcome
from graph.connection import Connection as GraphConnection
from pipelines.app import Headrace
from pipelines.stages.registry import NAMES, step
from privacy.surrogates import surrogate

Row = dict[str, Any]
Section = dict[str, Any]

_WAIT_S = 20.0
_INTERNAL = ("tenant", "key", "version", "digest", "text_hash", "document")


@dataclass(frozen=True)
class TenantState:
    """The rows that Postgres stores for a tenant.

    `documents`, `sources` (passages, in order) and `indexed` (the active generation) are by document. `in_any_generation`: the documents
    that any generation still has rows of. `unsourced`: chunks without a source. `unpublished`: outcomes in the outbox.
    """

    documents: Mapping[str, Row]
    sources: Mapping[str, Sequence[Row]]
    indexed: Mapping[str, Row]
    in_any_generation: frozenset[str]
    unsourced: int
    events: Sequence[Row]
    dead_letters: Sequence[Row]
    unfinished: Sequence[Row]
    leftovers: Sequence[Row]
    unpublished: int

    @cached_property
    def passages(self) -> dict[str, list[tuple[tuple[str, ...], str]]]:
        """The passages of each document, in order, as (heading path, text)."""
        return {document: [(tuple(row["heading_path"]), row["text"]) for row in rows] for document, rows in self.sources.items()}

    def acls(self, document: str) -> set[frozenset[str]]:
        """Return the access lists stored for a document: its own, and those of its passages."""
        own = [self.documents[document]] if document in self.documents else []
        return {frozenset(row["acl"]) for row in (*own, *self.sources.get(document, ()))}


def read_state(headrace: Headrace, tenant: str) -> TenantState:
    """Read the current state. Everything that a search can return is read with the reader role."""
    with headrace.readers.tenant(tenant) as connection:
        sources, unsourced = by_document(rows(connection, "sources")), rows(connection, "unsourced")[0]["chunks"]
        indexed = {row["document"]: row for row in rows(connection, "indexed")}
        in_any_generation = frozenset(row["document"] for row in rows(connection, "in_any_generation"))
    with headrace.session(tenant).transaction() as connection:
        documents = {row["document"]: row for row in rows(connection, "documents")}
        lists = {name: rows(connection, name) for name in ("events", "dead_letters", "unfinished", "leftovers")}
        unpublished = rows(connection, "unpublished")[0]["outcomes"]
    return TenantState(documents, sources, indexed, in_any_generation, unsourced, unpublished=unpublished, **lists)


def in_graph(headrace: Headrace, tenant: str, documents: Iterable[str]) -> set[str]:
    """Return those of the documents that have more than a tombstone in Neo4j."""
    projection = headrace.models.projection
    return {d for d in documents if any(count for what, count in projection.document_counts(tenant, d).items() if what != "tombstones")}


class Names:
    """Translate one tenant's digests and surrogates back to these records' keys and e-mail addresses."""

    def __init__(self, headrace: Headrace, tenant: str, record_keys: Iterable[bytes], people: Iterable[str]) -> None:
        keys = headrace.session(tenant).keys
        self.documents = {keys.digest(canonical_key(key), "document"): name_of(key) for key in record_keys}
        self._surrogates = {surrogate("EMAIL", person, keys).strip("<>").removeprefix("EMAIL:"): person for person in people}

    def of(self, value: Any) -> Any:
        """Return the value with digests and surrogates replaced, also within lists and mappings."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Mapping):
            return {name: self.of(inner) for name, inner in value.items()}
        return [self.of(inner) for inner in value] if isinstance(value, list | tuple) else value

    def _text(self, text: str) -> str:
        key, slash, rest = text.partition("/")
        if key in self.documents:
            return self.documents[key] + slash + rest
        for token, person in self._surrogates.items():
            text = text.replace(token, person)
        return text


def contents(headrace: Headrace, tenant: str, state: TenantState, names: Names) -> dict[str, Section]:
    """Return all results of a tenant's events, by section. Equal for tenants with the same records in the same order per key."""
    documents = {d: [row["sequence"], row["deleted"], sorted(row["acl"])] for d, row in state.documents.items()}
    indexed = {d: [row["name"], row["title"], row["uri"], row["sequence"]] for d, row in state.indexed.items()}
    passages = {
        d: [[r["ordinal"], r["page"], r["heading_path"], r["text"], sorted(r["acl"])] for r in of] for d, of in state.sources.items()
    }
    fates = {d: [[r["fate"], r["operation"], r["sequence"]] for r in of] for d, of in by_document(state.events).items()}
    # what a failing document was before, and how many of its versions failed, depends on timing
    stuck = by_document(row for row in state.unfinished if row["status"] != "behind")
    ledger = {d: [[r["stage"], r["status"], r["reason"]] for r in of] for d, of in stuck.items()}
    letters = {d: sorted({(r["stage"], r["reason"]) for r in of}) for d, of in by_document(state.dead_letters).items()}
    by_digest = {
        "documents": documents,
        "indexed": indexed,
        "passages": passages,
        "fates": fates,
        "unfinished": ledger,
        "dead letters": letters,
    }
    named = {section: {names.documents.get(d, d): names.of(of) for d, of in entries.items()} for section, entries in by_digest.items()}
    deleted = {document for document, row in state.documents.items() if row["deleted"]}
    return {**named, "graph": graph(headrace, tenant, names, deleted)}


def graph(headrace: Headrace, tenant: str, names: Names, deleted: Collection[str]) -> Section:
    """Return the number of occurrences of each node and each edge of the tenant's graph, with its properties, by name.

    A tombstone counts only if its document is deleted. If the document came back and cannot be read, its tombstone only records history.
    """
    connection = GraphConnection(headrace.endpoints)
    try:
        nodes = connection.read(tenant, lambda run: run(_CYPHER["nodes"]))
        edges = connection.read(tenant, lambda run: run(_CYPHER["edges"]))
    finally:
        connection.close()
    counted: dict[str, int] = defaultdict(int)
    for row in nodes:
        if row["label"] == "Tombstone" and row["properties"]["key"] not in deleted:
            continue
        counted[f"{row['label']} {names.of(row['properties']['key'])} {_own(row['properties'], names)}"] += 1
    for row in edges:
        counted[f"{names.of(row['source'])} {row['kind']} {names.of(row['target'])} {_own(row['properties'], names)}"] += 1
    return dict(counted)


def differences(one: Mapping[str, Section], other: Mapping[str, Section]) -> list[str]:
    """Return one line per entry that differs: its section, its name and both values."""
    lines: list[str] = []
    for section in sorted(one.keys() | other.keys()):
        mine, theirs = one.get(section, {}), other.get(section, {})
        lines += [
            f"{section} {name}: {mine.get(name)} | {theirs.get(name)}"
            for name in sorted(mine.keys() | theirs.keys())
            if mine.get(name) != theirs.get(name)
        ]
    return lines


def outcomes(headrace: Headrace, tenant: str) -> list[Outcome]:
    """Return every message on the tenant's outcome topic, each partition in order."""
    properties = headrace.endpoints.kafka_client()
    consumer = Consumer({**properties, "group.id": f"compare.{tenant}", "enable.auto.commit": False, "enable.partition.eof": True})
    try:
        topic = outcomes_of(tenant)
        partitions = consumer.list_topics(topic, timeout=_WAIT_S).topics[topic].partitions
        consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        return list(_everything(consumer, len(partitions)))
    finally:
        consumer.close()


def _everything(consumer: Consumer, partitions: int) -> Iterable[Outcome]:
    while partitions:
        message = consumer.poll(_WAIT_S)
        if message is None:
            raise TimeoutError("Kafka does not return the outcomes")
        if message.error():
            partitions -= 1
        else:
            yield decode(message.value() or b"", Outcome)


def rows(connection: Connection, name: str) -> list[Row]:
    return connection.execute(_SQL[name]).fetchall()


def outdated(headrace: Headrace, tenant: str) -> int:
    """Results that stages still have to compute anew because the tenant's settings have changed."""
    session = headrace.session(tenant)
    steps = [step(name, headrace, session.policy, session.keys.epoch) for name in NAMES]
    values = {"stages": [one.stage for one in steps], "fingerprints": [one.fingerprint for one in steps]}
    with session.transaction() as connection:
        return int(connection.execute(_SQL["outdated"], values).fetchall()[0]["records"])


def by_document(of: Iterable[Row]) -> dict[str, list[Row]]:
    """Group rows by document, in order. Rows without a document are grouped under the empty name."""
    grouped: dict[str, list[Row]] = {}
    for row in of:
        grouped.setdefault(row["document"] or "", []).append(row)
    return grouped


def _own(properties: Mapping[str, Any], names: Names) -> list[tuple[str, Any]]:
    return sorted((name, names.of(value)) for name, value in properties.items() if name not in _INTERNAL)


_SQL = statements("benchmarks", "compare.sql")
_CYPHER = statements("benchmarks", "compare.cypher")
