"""The projection: writes contributions to Neo4j and removes them, so that Neo4j can be dropped and rebuilt at any time.

Every write is idempotent and fenced by version. The graph's model, and why order does not matter: see `graph.rows`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import LiteralString

from core.config import Endpoints
from core.sql import statements
from graph import rows as as_rows
from graph.connection import Connection, Run
from graph.rows import Projected, Row

WEIGHT_LIMIT = 20_000
"""Nodes and relationships that a transaction writes, roughly: about 30 MB of the server's heap."""
DROP_LIMIT = 2_000

_READ = statements("graph", "cypher/read.cypher")
_WRITE = statements("graph", "cypher/write.cypher")
_DROP = statements("graph", "cypher/drop.cypher")
_SCHEMA = statements("graph", "cypher/schema.cypher")


class Projection:
    """Tenants' documents in Neo4j. Connects at the first call; close it, or use it as a context manager.

    Every method raises `Unavailable` within seconds if Neo4j does not answer or refuses the login, and HeadraceError (`graph-write-failed`)
    if it refuses a statement. A call that raises may be repeated safely; transactions that were not committed have no effect.
    """

    def __init__(self, endpoints: Endpoints) -> None:
        self._connection = Connection(endpoints)
        self._prepared = False

    def __enter__(self) -> Projection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def prepare(self) -> None:
        """Create missing constraints and indexes. The first write does this too: fencing relies on them."""
        for statement in _SCHEMA.values():
            self._connection.run(statement)
        self._prepared = True

    def project(self, tenant: str, rows: Sequence[Projected]) -> None:
        """Replace everything that each document contributed before by its contribution.

        A document that has a higher version, or that was removed at this version or a higher one, is left as it is. Runs one transaction,
        or several if the rows are too heavy for one; each document is written completely or not at all.
        """
        for batch in as_rows.batches(as_rows.newest(rows), WEIGHT_LIMIT):
            self._write(tenant, partial(_project, batch=batch))

    def remove(self, tenant: str, rows: Sequence[tuple[str, int]]) -> None:
        """Remove exactly what each document (key, version) contributed, and write a tombstone, so that no late write restores it.

        A document that has a higher version is left as it is. Runs one transaction.
        """
        versions: dict[str, int] = {}
        for document, version in rows:
            versions[document] = max(version, versions.get(document, version))
        removals = [{"document": document, "version": version, "digest": None} for document, version in versions.items()]
        if removals:
            self._write(tenant, lambda run: _remove(run, removals))

    def documents(self, tenant: str) -> dict[str, int]:
        """The version of every document in Neo4j, without tombstones."""
        found = self._connection.read(tenant, lambda run: run(_READ["documents"]))
        return {row["document"]: row["version"] for row in found}

    def counts(self, tenant: str) -> dict[str, int]:
        """Nodes by label (`Chunk`) and relationships by type (`MENTIONS`); zeros are left out."""
        totals: dict[str, int] = {}
        for row in self._connection.read(tenant, lambda run: run(_READ["counts"])):
            if row["number"]:
                totals[row["what"]] = totals.get(row["what"], 0) + row["number"]
        return totals

    def document_counts(self, tenant: str, document: str) -> dict[str, int]:
        """Counts for one document: documents, sections, chunks, mentions, relations, tombstones; zeros included."""
        (found,) = self._connection.read(tenant, lambda run: run(_READ["document_counts"], document=document))
        return {what: int(number) for what, number in found.items()}

    def drop(self, tenant: str) -> None:
        """Remove everything of a tenant, tombstones too, in transactions of bounded size. Nothing may write to the tenant meanwhile."""
        for statement in _DROP.values():
            while self._drop_some(tenant, statement) == DROP_LIMIT:
                pass

    def _drop_some(self, tenant: str, statement: LiteralString) -> int:
        (row,) = self._connection.write(tenant, lambda run: run(statement, limit=DROP_LIMIT))
        return int(row["removed"])

    def _write(self, tenant: str, work: Callable[[Run], None]) -> None:
        if not self._prepared:
            self.prepare()
        self._connection.write(tenant, work)


def _project(run: Run, batch: list[Projected]) -> None:
    admitted = _admitted(run, as_rows.fences(batch))
    accepted = [row for row in batch if row.document in admitted]
    if accepted:
        replaced = [row.document for row in accepted if not admitted[row.document]]
        numbers, touched = _numbers(run, replaced), _clear(run, replaced)
        for name, rows_of in _STEPS:
            _each(run, name, rows_of(accepted))
        _settle(run, numbers | as_rows.numbers(accepted))
        _sweep(run, touched)


def _remove(run: Run, removals: list[Row]) -> None:
    admitted = _admitted(run, removals)
    accepted = [row for row in removals if row["document"] in admitted]
    if accepted:
        replaced = [row["document"] for row in accepted if not admitted[row["document"]]]
        numbers, touched = _numbers(run, replaced), _clear(run, replaced)
        _each(run, "write_tombstones", accepted)
        _settle(run, numbers)
        _sweep(run, touched)


# the order matters: a relationship needs both its ends
_STEPS: tuple[tuple[str, Callable[[list[Projected]], list[Row]]], ...] = (
    ("write_documents", as_rows.documents),
    ("write_sections", as_rows.sections),
    ("nest_sections", as_rows.nestings),
    ("write_chunks", as_rows.chunks),
    ("place_chunks", as_rows.placements),
    ("write_entities", as_rows.entities),
    ("write_mentions", as_rows.mentions),
    ("write_relations", as_rows.relations),
    ("write_entity_relations", as_rows.entity_relations),
)


def _admitted(run: Run, rows: list[Row]) -> dict[str, bool]:
    """The documents that the fence admits, under the tenant's lock; for each, whether nothing of it exists, not even a tombstone."""
    run(_WRITE["lock_tenant"])
    return {row["document"]: row["fresh"] for row in run(_WRITE["admitted"], rows=rows)}


def _numbers(run: Run, documents: list[str]) -> set[str]:
    """The keys of the numbers that the documents have in the graph."""
    return {row["key"] for row in run(_WRITE["numbers"], documents=documents)} if documents else set()


def _clear(run: Run, documents: list[str]) -> list[str]:
    """Remove what the documents contributed, except entities: returns their keys, to be swept after the writes."""
    if not documents:
        return []
    touched = [row["key"] for row in run(_WRITE["touched"], documents=documents)]
    for name in ("clear_relations", "clear_chunks", "clear_sections", "clear_documents", "clear_tombstones"):
        run(_WRITE[name], documents=documents)
    return touched


def _settle(run: Run, numbers: set[str]) -> None:
    """Let each of these numbers stand for the one document that has it, or for none."""
    if numbers:
        run(_WRITE["settle_numbers"], keys=sorted(numbers))


def _sweep(run: Run, touched: list[str]) -> None:
    """Remove those of the touched entities that have no relationship left."""
    if touched:
        run(_WRITE["sweep"], keys=touched)


def _each(run: Run, name: str, rows: list[Row]) -> None:
    if rows:
        run(_WRITE[name], rows=rows)
