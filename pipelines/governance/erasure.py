"""Erasure: a document, all of a source, all that speaks of a data subject, or a whole tenant, out of every store, with a signed receipt.

Documents leave Postgres in one transaction that holds them: whatever lands before it is erased with them, whatever lands after it meets a
tombstone. That keeps its sequence, so that an older event changes nothing; one with a higher sequence brings the document back, whole and
new, by design, and the receipt says how many did. What a worker has in hand is thrown away when it commits, because the revision moved; a
vector that it may keep by then is swept once it has put the document down. Then comes Neo4j, fenced by version.

What is inside of another document is erased with it, and it with them: what an attachment says stands in its mail too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any

from core import artifacts
from core.errors import HeadraceError, Unavailable
from core.ledger.stage import Session
from core.records import decode, encode
from core.sql import statements
from core.tenancy import Connection
from pipelines.governance import audit, receipts, subjects, tenants
from pipelines.governance.legal_hold import refuse_held
from pipelines.operations.explain import find_document
from pipelines.resources import Resources
from pipelines.stages.inputs import Chunked, Versioned, next_versions

Receipt = dict[str, Any]

BATCH = 64
"""Documents that leave in one transaction, beside what is inside of them."""

PATIENCE_S = 60.0
"""How long workers are waited for that have an erased document in hand. After that the receipt counts them, and is not complete."""


def erase(resources: Resources, tenant: str, name: str) -> Receipt:
    """One document, by its id or key. Raises HeadraceError `unknown-document`, `legal-hold`; as `_erased` does."""
    document = find_document(resources, tenant, name)
    return _erased(resources, tenant, "document", lambda _: [document])


def erase_source(resources: Resources, tenant: str, source: str) -> Receipt:
    """Everything that this CloudEvents source owns. Raises HeadraceError `unknown-source`, `legal-hold`; as `_erased` does."""
    key = resources.session(tenant).keys.digest(source.encode("utf-8", "surrogatepass"), "source")

    def owned(session: Session) -> list[str]:
        with session.transaction() as connection:
            return [row["document"] for row in connection.execute(_SQL["of_source"], {"source_key": key})]

    if not owned(resources.session(tenant)):
        raise HeadraceError(
            f"tenant {tenant!r} has no document of that source", reason="unknown-source", remedy="A source is the events' own, exactly."
        )
    return _erased(resources, tenant, "source", owned)


def erase_subject(resources: Resources, tenant: str, value: str) -> Receipt:
    """Every document that holds a surrogate of this value; none is an answer too. The value is not kept.

    `not_looked_at`: documents that have not passed redaction; with any of them the receipt is not complete. Raises HeadraceError
    `empty-value`, `legal-hold`; as `_erased` does.
    """
    tokens = subjects.surrogates(resources, resources.session(tenant), value)
    return _erased(resources, tenant, "subject", lambda session: subjects.documents(session, tokens))


def erase_again(resources: Resources, tenant: str, receipt: Mapping[str, Any]) -> Receipt:
    """The documents of a receipt once more: after a backup that still had them was restored.

    Raises HeadraceError `bad-receipt` where it is not ours or not this tenant's, `cannot-decrypt` where the tenant has another key.
    """
    if not receipts.authentic(resources, receipt) or receipt["tenant"] != tenant or receipt["kind"] == "tenant":
        raise bad_receipt()
    documents = receipts.opened(resources.session(tenant).keys, receipt)
    return _erased(resources, tenant, receipt["kind"], lambda _: documents)


def bad_receipt() -> HeadraceError:
    return HeadraceError(
        "this is no receipt of documents of this tenant, or it was changed", reason="bad-receipt", remedy="Give the file as it was written."
    )


def erase_tenant(resources: Resources, tenant: str) -> Receipt:
    """The tenant's key and everything else of it, as `tenants.remove` does. Raises TenantError, HeadraceError `legal-hold`."""
    session, number = resources.session(tenant), receipts.new_id()
    refuse_held(resources, tenant)
    with audit.recorded(resources, "tenant-remove", tenant, receipt=number) as act:
        mark, before = receipts.mark_of(session.keys, number), _all_of(resources, session)
        tenants.remove(resources, tenant)
        after = Counter(left_of_tenant(resources, tenant))
        stores = {store: {"before": count, "after": after[store]} for store, count in before.items()}
        receipt = receipts.signed(resources, number, tenant, "tenant", stores, act.begun, documents=before["documents"], key_mark=mark)
        act.said.update(documents=before["documents"], complete=not any(after.values()), sha256=receipts.digest(receipt))
    return receipt


@dataclass
class _Work:
    """One erasure: what it found by now. `versions`: each document, and above which version Neo4j takes nothing of it any more."""

    resources: Resources
    session: Session
    versions: dict[str, int] = field(default_factory=dict)
    texts: set[str] = field(default_factory=set)
    before: Counter[str] = field(default_factory=Counter)

    def take(self, roots: Sequence[str]) -> None:
        for start in range(0, len(roots), BATCH):
            refuse_held(self.resources, self.session.tenant)
            self._leave_postgres(roots[start : start + BATCH])

    def _leave_postgres(self, roots: Sequence[str]) -> None:
        with self.session.transaction() as connection:
            documents = _locked(connection, roots)
            texts = _texts(connection, self.session, documents)
            self.before.update(_held(connection, self.session, documents, texts))
            versions = _tombstone(connection, self.session, documents)
        self.versions.update(versions)
        self.texts.update(texts)

    @property
    def documents(self) -> list[str]:
        return sorted(self.versions)

    def leave_neo4j(self) -> None:
        projection, tenant, every = self.resources.models.projection, self.session.tenant, sorted(self.versions.items())
        try:
            self.before["graph"] = _in_neo4j(self.resources, tenant, self.documents)
            for start in range(0, len(every), BATCH):
                projection.remove(tenant, every[start : start + BATCH])
        except Unavailable as error:
            raise Unavailable(error.detail, remedy="Postgres holds nothing of it any more; erase again when Neo4j answers.") from None

    def wait(self) -> None:
        """Until nobody has one of the documents in hand any more, or patience ends."""
        until = monotonic() + PATIENCE_S
        while self._claimed() and monotonic() < until:
            sleep(0.1)

    def _claimed(self) -> int:
        with self.session.transaction() as connection:
            return int(_one(connection, "claimed", documents=self.documents)["claims"])

    def finish(self) -> list[dict[str, Any]]:
        """Strike what was told of them meanwhile, and vectors that no chunk holds. Gives the tombstones: those that did not come back."""
        documents = self.documents
        tombstones = [row for start in range(0, len(documents), BATCH) for row in self._strike(documents[start : start + BATCH])]
        with self.session.transaction() as connection:
            connection.execute(_SQL["erase_vectors"])
        return tombstones

    def _strike(self, documents: Sequence[str]) -> list[dict[str, Any]]:
        with self.session.transaction() as connection:
            _locked(connection, documents)
            tombstones = connection.execute(_SQL["still_erased"], {"documents": documents}).fetchall()
            erased = {"documents": [row["document"] for row in tombstones]}
            for statement in ("complete_projection", "erase_outcomes", "erase_events", "erase_letters", "erase_artifacts"):
                connection.execute(_SQL[statement], erased)
        return tombstones

    def after(self, documents: Sequence[str]) -> Counter[str]:
        with self.session.transaction() as connection:
            left = Counter(_held(connection, self.session, documents, sorted(self.texts)))
        left["graph"] = _in_neo4j(self.resources, self.session.tenant, documents)
        return left


def _erased(resources: Resources, tenant: str, kind: receipts.Kind, select: Callable[[Session], Sequence[str]]) -> Receipt:
    """Erase what `select` finds, until it finds nothing more, and give the receipt.

    Raises Unavailable where Neo4j is away: by then Postgres holds nothing of it, and erasing again goes on where it stopped.
    """
    session, number = resources.session(tenant), receipts.new_id()
    refuse_held(resources, tenant)
    work, seen = _Work(resources, session), set[str]()
    with audit.recorded(resources, "erase", tenant, kind=kind, receipt=number) as act:
        while roots := sorted(set(_outermost(session, select(session))) - seen):
            seen.update(roots)
            work.take(roots)
        work.leave_neo4j()
        work.wait()
        tombstones = work.finish()
        after = work.after([row["document"] for row in tombstones])
        stores = {store: {"before": work.before[store], "after": after[store]} for store in after}
        told = _told(work, tombstones, subjects.not_redacted(session) if kind == "subject" else 0)
        sealed = receipts.sealed(session.keys, number, work.documents)
        receipt = receipts.signed(resources, number, tenant, kind, stores, act.begun, **told, documents_sealed=sealed)
        act.said.update(documents=told["documents"], left=sum(after.values()), sha256=receipts.digest(receipt))
    return receipt


def _told(work: _Work, tombstones: Sequence[Mapping[str, Any]], not_looked_at: int) -> dict[str, Any]:
    """`tombstone_sequence` of one document alone: above it an event brings it back."""
    only = tombstones[0]["sequence"] if len(tombstones) == len(work.documents) == 1 else None
    return {
        "documents": len(work.documents),
        "came_back": len(work.documents) - len(tombstones),
        "not_looked_at": not_looked_at,
        "tombstone_sequence": only,
    }


def left_of(resources: Resources, tenant: str, documents: Sequence[str]) -> dict[str, Any]:
    """What the stores hold now of documents that were erased, and how many of these came back: what there is of those is not counted."""
    session = resources.session(tenant)
    with session.transaction() as connection:
        still = [row["document"] for row in connection.execute(_SQL["still_erased"], {"documents": list(documents)})]
        stores = _held(connection, session, still, _texts(connection, session, still))
    graph = _in_neo4j(resources, tenant, still)
    return {"stores": {**stores, "graph": graph}, "came_back": len(documents) - len(still)}


def left_of_tenant(resources: Resources, tenant: str) -> dict[str, int]:
    """What there is of a tenant by its name: key, schema, roles, topics, nodes and relationships."""
    from events.contract import topic_of
    from events.kafka.topics import outcomes_of

    roles = [f"headrace_tenant_{tenant}", f"headrace_reader_{tenant}"]
    with resources.database.control() as connection:
        traces = _one(connection, "traces", tenant=tenant, schema=f"tenant_{tenant}", roles=roles)
    topics = resources.topics.ids([topic_of(tenant), outcomes_of(tenant)])
    return {**traces, "topics": len(topics), "graph": sum(resources.models.projection.counts(tenant).values())}


def _all_of(resources: Resources, session: Session) -> dict[str, int]:
    with session.transaction() as connection:
        return {**_one(connection, "of_tenant"), **left_of_tenant(resources, session.tenant)}


def _outermost(session: Session, documents: Sequence[str]) -> list[str]:
    with session.transaction() as connection:
        return [row["document"] for row in connection.execute(_SQL["outermost"], {"documents": list(documents)})]


def _locked(connection: Connection, roots: Sequence[str]) -> list[str]:
    """Lock these with all that is inside of them. Asked again until nothing came in between: who adds to one holds it."""
    from events.landing import states

    documents: list[str] = []
    while len(found := list(states(connection, roots))) > len(documents):
        documents = found
    return documents


def _tombstone(connection: Connection, session: Session, documents: Sequence[str]) -> dict[str, int]:
    """Leave a tombstone of each and nothing else. Returns the version above which nothing of it is written to Neo4j any more."""
    from index import swap

    values = {"documents": list(documents)}
    for statement in ("write_tombstones", "complete_records", "drop_dead_claims"):
        connection.execute(_SQL[statement], values)
    swap.remove(connection, documents)
    for statement in ("erase_outcomes", "erase_events", "erase_letters", "erase_artifacts"):
        connection.execute(_SQL[statement], values)
    versions = next_versions(connection, documents)
    # for the projection stage, where this ends before Neo4j has heard of it
    artifacts.put(connection, session.keys, "graph", {d: encode(Versioned(version)) for d, version in versions.items()})
    return versions


def _texts(connection: Connection, session: Session, documents: Sequence[str]) -> list[str]:
    """The hashes of the documents' texts in the index and of those that are cut and not indexed yet.

    Found before they are erased: afterwards nothing says any more which texts were theirs.
    """
    indexed = {row["text_hash"] for row in connection.execute(_SQL["texts"], {"documents": list(documents)})}
    return sorted(indexed.union(_cut(connection, session, documents)))


def _cut(connection: Connection, session: Session, documents: Sequence[str]) -> Iterator[str]:
    for payload in artifacts.get(connection, session.keys, "chunk", documents).values():
        yield from (chunk.text_hash for chunk in decode(payload, Chunked).chunks)


def _held(connection: Connection, session: Session, documents: Sequence[str], texts: Sequence[str]) -> dict[str, int]:
    """What each table holds of the documents; of their texts, those that no other document has too."""
    found = _one(connection, "holdings", documents=list(documents), texts=list(texts))
    contributed = (decode(payload, Versioned) for payload in artifacts.get(connection, session.keys, "graph", documents).values())
    return {**found, "artifacts": found["artifacts"] + sum(1 for versioned in contributed if versioned.contribution)}


def _in_neo4j(resources: Resources, tenant: str, documents: Sequence[str]) -> int:
    """Nodes and relationships. A tombstone is none: it is a key and a version, kept so that a late write cannot bring the document back."""
    found = (resources.models.projection.holds(tenant, document) for document in documents)
    return sum(count for graph in found for what, count in graph.items() if what != "tombstones")


def _one(connection: Connection, name: str, **values: Any) -> dict[str, Any]:
    return connection.execute(_SQL[name], values).fetchall()[0]


_SQL = statements("pipelines.governance", "sql/erasure.sql")
