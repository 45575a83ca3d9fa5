"""Erasure of a document, a source's documents, a data subject's documents, or a tenant, out of every store, with a signed receipt.

Documents leave Postgres in one transaction that locks them: what lands before it is erased with them, what lands after it meets a
tombstone. The tombstone keeps the sequence, so that an older event changes nothing. An event with a higher sequence brings the document
back by design, and the receipt counts such documents. A worker that has claimed one finds a changed revision and discards its result; a
vector that it stores meanwhile is deleted once the claim is released. Neo4j comes last, fenced by version.

A document is erased together with the documents inside of it, and with those that it is inside of: an attachment's text is part of its
mail too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any

from core import artifacts
from core.errors import HeadraceError, Unavailable
from core.ledger.stage import Session
from core.records import encode
from core.sql import statements
from core.tenancy import Connection
from pipelines.documents import find_document
from pipelines.governance import audit, holdings, receipts, subjects, tenants
from pipelines.governance.legal_hold import refuse_held
from pipelines.governance.receipts import Receipt, StoreCounts
from pipelines.resources import Resources
from pipelines.stages.inputs import Versioned, next_versions

BATCH = 64
"""Documents per transaction, not counting those inside of them."""

PATIENCE_S = 60.0
"""How long to wait for the claims on erased documents. After that the receipt counts them, and is not complete."""


def erase(resources: Resources, tenant: str, name: str) -> Receipt:
    """Erase one document, by its id or key. Raises HeadraceError `unknown-document`, `legal-hold`; and as `_erase` does.

    What remains fences as a tombstone. It belongs to the source that published the document; to none if nobody did.
    """
    document = find_document(resources, tenant, name)
    return _erase(resources, tenant, "document", lambda _: [document])


def erase_source(resources: Resources, tenant: str, source: str) -> Receipt:
    """Erase every document of this CloudEvents source. Raises HeadraceError `unknown-source`, `legal-hold`; and as `_erase` does."""
    key = resources.session(tenant).keys.digest(source.encode("utf-8", "surrogatepass"), "source")

    def owned(session: Session) -> list[str]:
        with session.transaction() as connection:
            return [row["document"] for row in connection.execute(_SQL["of_source"], {"source_key": key})]

    if not owned(resources.session(tenant)):
        raise HeadraceError(
            f"tenant {tenant!r} has no document of that source",
            reason="unknown-source",
            remedy="A source is the events' `source`, exactly.",
        )
    return _erase(resources, tenant, "source", owned)


def erase_subject(resources: Resources, tenant: str, value: str) -> Receipt:
    """Erase every document with a surrogate of this value; there may be none. The value is not stored.

    `not_looked_at` counts documents that have not passed redaction; if there are any, the receipt is not complete. Raises HeadraceError
    `empty-value`, `legal-hold`; and as `_erase` does.
    """
    tokens = subjects.surrogates(resources, resources.session(tenant), value)
    return _erase(resources, tenant, "subject", lambda session: subjects.documents(session, tokens))


def erase_again(resources: Resources, tenant: str, receipt: Mapping[str, Any]) -> Receipt:
    """Erase the documents of a receipt, as its file has it, once more: after a backup that still had them was restored.

    Raises HeadraceError `bad-receipt` if it is not authentic or not this tenant's, `cannot-decrypt` if the tenant has another key.
    """
    if not receipts.authentic(resources, receipt) or receipt["tenant"] != tenant or receipt["kind"] == "tenant":
        raise receipts.bad_receipt()
    documents = receipts.opened(resources.session(tenant).keys, receipt["receipt"], receipt["documents_sealed"])
    return _erase(resources, tenant, receipt["kind"], lambda _: documents)


def erase_tenant(resources: Resources, tenant: str) -> Receipt:
    """Erase the tenant's key and everything else of it, as `tenants.remove` does. Raises TenantError, HeadraceError `legal-hold`."""
    session, number = resources.session(tenant), receipts.new_id()
    refuse_held(resources, tenant)
    with audit.recorded(resources, "tenant-remove", tenant, receipt=number) as act:
        mark, before = receipts.mark_of(session.keys, number), holdings.of_tenant(resources, session)
        tenants.remove(resources, tenant)
        after = Counter(holdings.traces(resources, tenant))
        stores = {store: StoreCounts(count, after[store]) for store, count in before.items()}
        receipt = receipts.issue(resources, number, tenant, "tenant", stores, act.begun, documents=before["documents"], key_mark=mark)
        act.details.update(documents=receipt.documents, complete=receipt.complete, sha256=receipts.digest(receipts.as_written(receipt)))
    return receipt


@dataclass
class _Erasure:
    """One erasure in progress. `versions`: by document, the version up to which Neo4j refuses writes of it."""

    resources: Resources
    session: Session
    versions: dict[str, int] = field(default_factory=dict)
    texts: set[str] = field(default_factory=set)
    before: Counter[str] = field(default_factory=Counter)

    def take(self, roots: Sequence[str]) -> None:
        """Remove these documents from Postgres, leaving tombstones."""
        for start in range(0, len(roots), BATCH):
            refuse_held(self.resources, self.session.tenant)
            self._leave_postgres(roots[start : start + BATCH])

    def _leave_postgres(self, roots: Sequence[str]) -> None:
        with self.session.transaction() as connection:
            documents = _locked(connection, roots)
            texts = holdings.texts(connection, self.session, documents)
            self.before.update(holdings.of_documents(connection, self.session, documents, texts))
            versions = _write_tombstones(connection, self.session, documents)
        self.versions.update(versions)
        self.texts.update(texts)

    @property
    def documents(self) -> list[str]:
        return sorted(self.versions)

    def leave_neo4j(self) -> None:
        """Remove them from Neo4j. Raises Unavailable."""
        projection, tenant, versions = self.resources.models.projection, self.session.tenant, sorted(self.versions.items())
        try:
            self.before["graph"] = holdings.in_graph(self.resources, tenant, self.documents)
            for start in range(0, len(versions), BATCH):
                projection.remove(tenant, versions[start : start + BATCH])
        except Unavailable as error:
            raise Unavailable(error.detail, remedy="Postgres has nothing of it any more; erase again when Neo4j answers.") from None

    def wait(self) -> None:
        """Wait until no document is claimed, at most `PATIENCE_S`."""
        until = monotonic() + PATIENCE_S
        while self._claims() and monotonic() < until:
            sleep(0.1)

    def _claims(self) -> int:
        with self.session.transaction() as connection:
            return int(_one(connection, "claimed", documents=self.documents)["claims"])

    def finish(self) -> list[dict[str, Any]]:
        """Delete what was recorded meanwhile, and vectors without a chunk. Returns the tombstones: of those that did not come back."""
        documents = self.documents
        tombstones = [row for start in range(0, len(documents), BATCH) for row in self._sweep(documents[start : start + BATCH])]
        with self.session.transaction() as connection:
            connection.execute(_SQL["erase_vectors"])
        return tombstones

    def _sweep(self, documents: Sequence[str]) -> list[dict[str, Any]]:
        with self.session.transaction() as connection:
            _locked(connection, documents)
            tombstones = holdings.tombstones(connection, documents)
            erased = {"documents": [row["document"] for row in tombstones]}
            for statement in ("complete_projection", *_ERASE_ROWS):
                connection.execute(_SQL[statement], erased)
        return tombstones

    def after(self, documents: Sequence[str]) -> Counter[str]:
        """What the stores hold of these documents now."""
        with self.session.transaction() as connection:
            remaining = Counter(holdings.of_documents(connection, self.session, documents, sorted(self.texts)))
        remaining["graph"] = holdings.in_graph(self.resources, self.session.tenant, documents)
        return remaining

    def summary(self, tombstones: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The receipt's fields about documents. `tombstone_sequence` only if there is one document: a higher one brings it back."""
        only = tombstones[0]["sequence"] if len(tombstones) == len(self.documents) == 1 else None
        return {"documents": len(self.documents), "came_back": len(self.documents) - len(tombstones), "tombstone_sequence": only}


_ERASE_ROWS = ("erase_outcomes", "erase_events", "erase_dead_letters", "erase_artifacts")


def _erase(resources: Resources, tenant: str, kind: receipts.Kind, select: Callable[[Session], Sequence[str]]) -> Receipt:
    """Erase what `select` finds, until it finds nothing more. Returns the receipt.

    Raises Unavailable if Neo4j does not answer: then Postgres has nothing of the documents, and erasing again continues from there.
    """
    session, number = resources.session(tenant), receipts.new_id()
    refuse_held(resources, tenant)
    erasure, seen = _Erasure(resources, session), set[str]()
    with audit.recorded(resources, "erase", tenant, kind=kind, receipt=number) as act:
        while roots := sorted(set(_outermost(session, select(session))) - seen):
            seen.update(roots)
            erasure.take(roots)
        erasure.leave_neo4j()
        erasure.wait()
        receipt = _receipt(erasure, number, kind, act.begun)
        remaining = sum(counts.after for counts in receipt.stores.values())
        act.details.update(documents=receipt.documents, left=remaining, sha256=receipts.digest(receipts.as_written(receipt)))
    return receipt


def _receipt(erasure: _Erasure, number: str, kind: receipts.Kind, begun: audit.Mark) -> Receipt:
    resources, session = erasure.resources, erasure.session
    tombstones = erasure.finish()
    after = erasure.after([row["document"] for row in tombstones])
    stores = {store: StoreCounts(erasure.before[store], count) for store, count in after.items()}
    return receipts.issue(
        resources,
        number,
        session.tenant,
        kind,
        stores,
        begun,
        **erasure.summary(tombstones),
        not_looked_at=subjects.not_redacted(session) if kind == "subject" else 0,
        documents_sealed=receipts.sealed(session.keys, number, erasure.documents),
    )


def _outermost(session: Session, documents: Sequence[str]) -> list[str]:
    with session.transaction() as connection:
        return [row["document"] for row in connection.execute(_SQL["outermost"], {"documents": list(documents)})]


def _locked(connection: Connection, roots: Sequence[str]) -> list[str]:
    """Lock these documents with all that are inside of them. Repeats until no child was added meanwhile: adding one locks the parent."""
    from events.landing import states

    documents: list[str] = []
    while len(found := list(states(connection, roots))) > len(documents):
        documents = found
    return documents


def _write_tombstones(connection: Connection, session: Session, documents: Sequence[str]) -> dict[str, int]:
    """Reduce each document to a tombstone. Returns the version up to which Neo4j refuses writes of each."""
    from index import swap

    values = {"documents": list(documents)}
    for statement in ("write_tombstones", "complete_records", "drop_dead_claims"):
        connection.execute(_SQL[statement], values)
    swap.remove(connection, documents)
    for statement in _ERASE_ROWS:
        connection.execute(_SQL[statement], values)
    versions = next_versions(connection, documents)
    # for the projection stage, in case this process dies before Neo4j is reached
    artifacts.put(connection, session.keys, "graph", {d: encode(Versioned(version)) for d, version in versions.items()})
    return versions


def _one(connection: Connection, name: str, **values: Any) -> dict[str, Any]:
    return connection.execute(_SQL[name], values).fetchall()[0]


_SQL = statements("pipelines.governance", "sql/erasure.sql")
