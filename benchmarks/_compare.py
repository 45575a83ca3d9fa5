"""What a tenant holds, read from its servers: landed states, searchable passages, graph, ledger, outcomes; told by names, not by digests.

`Held` is for those who know what should be there. Two tenants that were given the same records hold the same `told`, whatever their keys:
surrogates, which differ by key, are turned back into the values that the workload wrote. What is right and wrong is the caller's affair.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from core.records import decode
from core.sql import statements
from core.tenancy import Connection
from events.digests import document_key
from events.kafka.reader import outcomes_of
from events.outcomes import Outcome
from graph.connection import Connection as GraphConnection
from pipelines.app import Headrace
from privacy.surrogates import surrogate

Row = dict[str, Any]
Told = dict[str, Any]

_WAIT_S = 20.0
_INTERNAL = ("tenant", "key", "version", "digest", "text_hash", "document")


@dataclass(frozen=True)
class Held:
    """What a tenant's database holds. `states` and `passages` are by document, passages in order as (heading path, text)."""

    states: Mapping[str, Row]
    sources: Mapping[str, Sequence[Row]]
    listed: Mapping[str, Row]
    held: frozenset[str]
    unsourced: int
    events: Sequence[Row]
    letters: Sequence[Row]
    unfinished: Sequence[Row]
    leftovers: Sequence[Row]
    untold: int

    @cached_property
    def passages(self) -> dict[str, list[tuple[tuple[str, ...], str]]]:
        return {document: [(tuple(row["heading_path"]), row["text"]) for row in rows] for document, rows in self.sources.items()}

    def acls(self, document: str) -> set[frozenset[str]]:
        """Every access list that stands for this document: its own, and those of its passages."""
        own = [self.states[document]] if document in self.states else []
        return {frozenset(row["acl"]) for row in (*own, *self.sources.get(document, ()))}


def held(headrace: Headrace, tenant: str) -> Held:
    """What there is now. What a search could give is read as the tenant's reader."""
    with headrace.readers.tenant(tenant) as connection:
        sources, unsourced = by_document(rows(connection, "sources")), rows(connection, "unsourced")[0]["chunks"]
        listed = {row["document"]: row for row in rows(connection, "listed")}
        everything = frozenset(row["document"] for row in rows(connection, "held"))
    with headrace.session(tenant).transaction() as connection:
        states = {row["document"]: row for row in rows(connection, "states")}
        lists = {name: rows(connection, name) for name in ("events", "letters", "unfinished", "leftovers")}
        untold = rows(connection, "untold")[0]["outcomes"]
    return Held(states, sources, listed, everything, unsourced, untold=untold, **lists)


def in_graph(headrace: Headrace, tenant: str, documents: Iterable[str]) -> set[str]:
    """Which of these documents Neo4j holds more of than a tombstone."""
    projection = headrace.models.projection
    return {d for d in documents if any(count for what, count in projection.holds(tenant, d).items() if what != "tombstones")}


class Names:
    """What the digests and surrogates of one tenant stand for, of these document ids and these e-mail addresses."""

    def __init__(self, headrace: Headrace, tenant: str, documents: Iterable[str], people: Iterable[str]) -> None:
        keys = headrace.session(tenant).keys
        self.documents = {document_key(name, keys): name for name in documents}
        self._surrogates = {surrogate("EMAIL", person, keys).strip("<>").removeprefix("EMAIL:"): person for person in people}

    def of(self, value: Any) -> Any:
        """The value with everything of the tenant's own in it replaced, through lists and mappings."""
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


def told(headrace: Headrace, tenant: str, found: Held, names: Names) -> dict[str, Told]:
    """All that a tenant's events have come to, in sections: equal for tenants with the same records in the same order per key."""
    states = {d: [row["sequence"], row["deleted"], sorted(row["acl"])] for d, row in found.states.items()}
    listed = {d: [row["name"], row["title"], row["uri"], row["sequence"]] for d, row in found.listed.items()}
    passages = {
        d: [[r["ordinal"], r["page"], r["heading_path"], r["text"], sorted(r["acl"])] for r in of] for d, of in found.sources.items()
    }
    fates = {d: [[r["fate"], r["operation"], r["sequence"]] for r in of] for d, of in by_document(found.events).items()}
    # what a document that fails was before it did, and how many of its versions failed, is a matter of who ran when
    stuck = by_document(row for row in found.unfinished if row["status"] != "behind")
    ledger = {d: [[r["stage"], r["status"], r["reason"]] for r in of] for d, of in stuck.items()}
    letters = {d: sorted({(r["stage"], r["reason"]) for r in of}) for d, of in by_document(found.letters).items()}
    by_digest = {"states": states, "listed": listed, "passages": passages, "fates": fates, "unfinished": ledger, "letters": letters}
    named = {section: {names.documents.get(d, d): names.of(of) for d, of in entries.items()} for section, entries in by_digest.items()}
    deleted = {document for document, row in found.states.items() if row["deleted"]}
    return {**named, "graph": graph(headrace, tenant, names, deleted)}


def graph(headrace: Headrace, tenant: str, names: Names, deleted: Collection[str]) -> Told:
    """The tenant's whole graph by names: each node and each edge with its properties, and how often it is there.

    A tombstone counts where its document is deleted: that of one which came back, and cannot be read, says what once happened.
    """
    connection = GraphConnection(headrace.endpoints)
    try:
        nodes = connection.read(tenant, lambda run: run(_cypher("nodes")))
        edges = connection.read(tenant, lambda run: run(_cypher("edges")))
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


def differences(one: Mapping[str, Told], other: Mapping[str, Told]) -> list[str]:
    """What differs, one line an entry, named by section and name."""
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
    """Everything on the tenant's topic of outcomes, each partition in its order."""
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
            raise TimeoutError("Kafka does not give the outcomes")
        if message.error():
            partitions -= 1
        else:
            yield decode(message.value() or b"", Outcome)


def rows(connection: Connection, name: str) -> list[Row]:
    return connection.execute(statements("benchmarks", "compare.sql")[name]).fetchall()


def by_document(of: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows by their document, those of none under the empty name, in their order."""
    grouped: dict[str, list[Row]] = {}
    for row in of:
        grouped.setdefault(row["document"] or "", []).append(row)
    return grouped


def _own(properties: Mapping[str, Any], names: Names) -> list[tuple[str, Any]]:
    return sorted((name, names.of(value)) for name, value in properties.items() if name not in _INTERNAL)


def _cypher(name: str) -> Any:
    return statements("benchmarks", "compare.cypher")[name]
