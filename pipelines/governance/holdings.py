"""What the stores hold of documents, and of a tenant: counts of rows, topics, nodes. Erasing them is in `pipelines.governance.erasure`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core import artifacts
from core.ledger.stage import Session
from core.records import decode
from core.sql import statements
from core.tenancy import Connection
from pipelines.resources import Resources
from pipelines.stages.inputs import Chunked, Versioned


@dataclass(frozen=True)
class Remaining:
    """What the stores hold of erased documents. `came_back`: how many were published again; these are not counted in `stores`."""

    stores: Mapping[str, int]
    came_back: int


def of_erased(resources: Resources, tenant: str, documents: Sequence[str]) -> Remaining:
    """What the stores hold now of documents that were erased. Raises Unavailable if Neo4j does not answer."""
    session = resources.session(tenant)
    with session.transaction() as connection:
        erased = [row["document"] for row in tombstones(connection, documents)]
        stores = of_documents(connection, session, erased, texts(connection, session, erased))
    return Remaining({**stores, "graph": in_graph(resources, tenant, erased)}, len(documents) - len(erased))


def of_documents(connection: Connection, session: Session, documents: Sequence[str], texts: Sequence[str]) -> dict[str, int]:
    """The rows of each table that belong to the documents; of `texts`, only those that no other document shares."""
    counts = _one(connection, "holdings", documents=list(documents), texts=list(texts))
    contributed = (decode(payload, Versioned) for payload in artifacts.get(connection, session.keys, "graph", documents).values())
    return {**counts, "artifacts": counts["artifacts"] + sum(1 for versioned in contributed if versioned.contribution)}


def of_tenant(resources: Resources, session: Session) -> dict[str, int]:
    """The rows of each table of a tenant, and its `traces`."""
    with session.transaction() as connection:
        return {**_one(connection, "of_tenant"), **traces(resources, session.tenant)}


def traces(resources: Resources, tenant: str) -> dict[str, int]:
    """What exists under a tenant's name: key, schema, roles, topics, nodes and relationships."""
    from events.contract import topic_of
    from events.kafka.topics import outcomes_of

    roles = [f"headrace_tenant_{tenant}", f"headrace_reader_{tenant}"]
    with resources.database.control() as connection:
        counts = _one(connection, "traces", tenant=tenant, schema=f"tenant_{tenant}", roles=roles)
    topics = resources.topics.ids([topic_of(tenant), outcomes_of(tenant)])
    return {**counts, "topics": len(topics), "graph": sum(resources.models.projection.counts(tenant).values())}


def texts(connection: Connection, session: Session, documents: Sequence[str]) -> list[str]:
    """The hashes of the documents' texts, those in the index and those that are cut and not indexed yet.

    Call it before the documents are erased: afterwards nothing relates the texts to them.
    """
    indexed = {row["text_hash"] for row in connection.execute(_SQL["texts"], {"documents": list(documents)})}
    return sorted(indexed.union(_cut(connection, session, documents)))


def _cut(connection: Connection, session: Session, documents: Sequence[str]) -> Iterator[str]:
    for payload in artifacts.get(connection, session.keys, "chunk", documents).values():
        yield from (chunk.text_hash for chunk in decode(payload, Chunked).chunks)


def in_graph(resources: Resources, tenant: str, documents: Sequence[str]) -> int:
    """Nodes and relationships of the documents. Tombstones do not count: a key and a version, kept so that a late write is refused."""
    found = (resources.models.projection.document_counts(tenant, document) for document in documents)
    return sum(count for counts in found for kind, count in counts.items() if kind != "tombstones")


def tombstones(connection: Connection, documents: Sequence[str]) -> list[dict[str, Any]]:
    """`document` and `sequence` of those that were erased and have not come back."""
    return connection.execute(_SQL["tombstones"], {"documents": list(documents)}).fetchall()


def _one(connection: Connection, name: str, **values: Any) -> dict[str, Any]:
    return connection.execute(_SQL[name], values).fetchall()[0]


_SQL = statements("pipelines.governance", "sql/holdings.sql")
