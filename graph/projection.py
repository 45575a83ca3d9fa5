"""The projection: contributions written to Neo4j and taken away again, so that Neo4j can be dropped and rebuilt at any time.

Every write is idempotent and fenced by version. How the graph looks, and why order does not matter, stands in `graph.rows`.
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

# nodes and relationships a transaction writes, about: some 30 MB of the server's heap
WEIGHT_LIMIT = 20_000
DROP_LIMIT = 2_000

_READ = statements("graph", "cypher/read.cypher")
_WRITE = statements("graph", "cypher/write.cypher")
_DROP = statements("graph", "cypher/drop.cypher")
_SCHEMA = statements("graph", "cypher/schema.cypher")


class Projection:
    """A tenant's documents in Neo4j. It connects at the first call; close it, or use it as a context manager.

    Every method raises `Unavailable` within seconds where Neo4j does not answer or refuses us, and HeadraceError (`graph-write-failed`)
    where it refuses a statement. What was not committed has no effect, and repeating is always safe.
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
        """Constraints and indexes, where they are missing. The first write of a Projection does this too: fencing relies on them."""
        for statement in _SCHEMA.values():
            self._connection.run(statement)
        self._prepared = True

    def project(self, tenant: str, rows: Sequence[Projected]) -> None:
        """Put each document's contribution in the place of everything it contributed before.

        A document that is here at a higher version, or was removed at this version or a higher one, is left as it is. One transaction,
        or several where a batch is too heavy for one; each document is whole or not at all.
        """
        for batch in as_rows.batches(as_rows.newest(rows), WEIGHT_LIMIT):
            self._write(tenant, partial(_project, batch=batch))

    def remove(self, tenant: str, rows: Sequence[tuple[str, int]]) -> None:
        """Subtract exactly what each document (key, version) contributed, and leave a tombstone, so that no late write brings it back.

        A document that is here at a higher version is left as it is. One transaction.
        """
        versions: dict[str, int] = {}
        for document, version in rows:
            versions[document] = max(version, versions.get(document, version))
        removals = [{"document": document, "version": version, "digest": None} for document, version in versions.items()]
        if removals:
            self._write(tenant, lambda run: _remove(run, removals))

    def documents(self, tenant: str) -> dict[str, int]:
        """Every document that Neo4j holds, and at which version; no tombstones."""
        found = self._connection.read(tenant, lambda run: run(_READ["documents"]))
        return {row["document"]: row["version"] for row in found}

    def counts(self, tenant: str) -> dict[str, int]:
        """Nodes by label (`Chunk`) and relationships by type (`MENTIONS`); nothing where there are none."""
        totals: dict[str, int] = {}
        for row in self._connection.read(tenant, lambda run: run(_READ["counts"])):
            if row["number"]:
                totals[row["what"]] = totals.get(row["what"], 0) + row["number"]
        return totals

    def holds(self, tenant: str, document: str) -> dict[str, int]:
        """What there is of a document: documents, sections, chunks, mentions, relations, tombstones; zeros included."""
        (found,) = self._connection.read(tenant, lambda run: run(_READ["holds"], document=document))
        return {what: int(number) for what, number in found.items()}

    def drop(self, tenant: str) -> None:
        """Remove everything of a tenant, tombstones too, in transactions of bounded size. Nobody may write the tenant meanwhile."""
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
        touched = _clear(run, [row.document for row in accepted if not admitted[row.document]])
        for name, rows_of in _STEPS:
            _each(run, name, rows_of(accepted))
        _sweep(run, touched)


def _remove(run: Run, removals: list[Row]) -> None:
    admitted = _admitted(run, removals)
    accepted = [row for row in removals if row["document"] in admitted]
    if accepted:
        touched = _clear(run, [row["document"] for row in accepted if not admitted[row["document"]]])
        _each(run, "write_tombstones", accepted)
        _sweep(run, touched)


# in this order: a relationship needs both its ends
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
    """The documents that the fence lets through, under the tenant's lock; of each, whether nothing of it is here, not even a tombstone."""
    run(_WRITE["take_turn"])
    return {row["document"]: row["fresh"] for row in run(_WRITE["admitted"], rows=rows)}


def _clear(run: Run, documents: list[str]) -> list[str]:
    """Remove all that the documents contributed, but the entities: their keys are handed back, to be swept when all is written."""
    if not documents:
        return []
    touched = [row["key"] for row in run(_WRITE["touched"], documents=documents)]
    for name in ("clear_relations", "clear_chunks", "clear_sections", "clear_documents", "clear_tombstones"):
        run(_WRITE[name], documents=documents)
    return touched


def _sweep(run: Run, touched: list[str]) -> None:
    """Entities that nothing speaks of any more."""
    if touched:
        run(_WRITE["sweep"], keys=touched)


def _each(run: Run, name: str, rows: list[Row]) -> None:
    if rows:
        run(_WRITE[name], rows=rows)
