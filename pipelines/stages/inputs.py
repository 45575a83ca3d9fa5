"""What passes between the ledger and a stage: inputs as frames, what stages left for each other, and what is kept or discarded of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import polars as pl

from core import artifacts, frames
from core.ledger.ledger import Stale
from core.ledger.stage import Session
from core.records import Chunk, Contribution, Envelope, decode, encode
from core.sql import statements
from core.tenancy import Connection
from pipelines.stages.acceptance import Failure

STORED_BYTES = 16 * 1024 * 1024
"""What a stage takes into memory at a time, as it is stored. One document may be more.

Documents that do not fit stay stale: the next batch has them."""


class Chunked(msgspec.Struct, frozen=True):
    """A document's chunks, and the key of the redacted document that they were cut from.

    The index and the graph read that too (its title, its links), so what changes in it has to reach them, chunks changed or not.
    """

    redacted: str
    chunks: tuple[Chunk, ...]


class Versioned(msgspec.Struct, frozen=True):
    """A contribution as it goes to Neo4j: null where the document was deleted. A higher version always wins there.

    `chunks` are the ids of the document's chunks by ordinal, as they were when the contribution was made.
    """

    version: int = 0
    contribution: Contribution | None = None
    chunks: tuple[str, ...] = ()


def frame(
    schema: Mapping[str, Any], rows: Sequence[Stale], columns: Mapping[str, Mapping[str, Any]], *needed: Mapping[str, Any]
) -> pl.DataFrame:
    """A stage's input: each row's keys and, by document, its columns.

    A document whose input is gone has moved on since it was found stale, and is left out.
    """
    all_of = (*columns.values(), *needed)
    there = [row for row in rows if all(row.document in of for of in all_of)]
    records = [{"document": r.document, "input_key": r.input_key, **{name: of[r.document] for name, of in columns.items()}} for r in there]
    return pl.DataFrame(records, schema=dict(schema))


def failures(rows: Sequence[Stale], refused: Mapping[str, Failure]) -> pl.DataFrame:
    """A RESULT row for each document that failed."""
    told = [(row, *refused[row.document]) for row in rows if row.document in refused]
    records = [{"document": r.document, "input_key": r.input_key, "reason": reason, "detail": detail} for r, reason, detail in told]
    return pl.DataFrame(records, schema=dict(frames.RESULT))


def load(session: Session, stage: str, rows: Sequence[Stale]) -> dict[str, bytes]:
    """What a stage left for these documents, as far as that fits into memory."""
    return load_all(session, rows, stage)[0]


def load_all(session: Session, rows: Sequence[Stale], *stages: str) -> list[dict[str, bytes]]:
    """By stage, what it left for these documents, as far as that fits into memory."""
    with session.transaction() as connection:
        return [read(connection, session, stage, rows) for stage in stages]


def read(connection: Connection, session: Session, stage: str, rows: Sequence[Stale]) -> dict[str, bytes]:
    """As `load`, in this transaction."""
    return artifacts.get(connection, session.keys, stage, [row.document for row in rows], STORED_BYTES)


def cut(payloads: Mapping[str, bytes]) -> dict[str, tuple[Chunk, ...]]:
    """The chunks that the chunk stage left."""
    return {document: decode(payload, Chunked).chunks for document, payload in payloads.items()}


def envelope(session: Session, row: Stale) -> Envelope:
    """What the document's event says beside its content."""
    return decode(session.keys.open(row.envelope or b"", f"envelope/{row.document}"), Envelope)


def keep(stage: str) -> Any:
    """A `store` that keeps payloads as this stage's artifacts."""

    def store(connection: Connection, session: Session, payloads: Mapping[str, bytes]) -> Sequence[str]:
        artifacts.put(connection, session.keys, stage, payloads)
        return ()

    return store


def discard(*stages: str) -> Any:
    """A `remove` that discards what these stages left."""

    def remove(connection: Connection, _: Session, documents: Sequence[str]) -> Sequence[str]:
        artifacts.discard(connection, stages, documents)
        return ()

    return remove


def repacked(result: pl.DataFrame, pack: Callable[[dict[str, Any]], bytes]) -> pl.DataFrame:
    """A result with what `pack` makes of each row that has a payload."""
    payloads = [None if row["payload"] is None else pack(row) for row in result.to_dicts()]
    return result.with_columns(payload=pl.Series(payloads, dtype=pl.Binary))


def put_versions(connection: Connection, session: Session, made: Mapping[str, Versioned]) -> None:
    """What changed gets the next version, under its document's lock, so that versions are in the order of the contributions."""
    before = {d: decode(p, Versioned) for d, p in artifacts.get(connection, session.keys, "graph", list(made)).items()}
    changed = {d: v for d, v in made.items() if d not in before or v != msgspec.structs.replace(before[d], version=0)}
    rows = connection.execute(statements("pipelines.stages", "sql/versions.sql")["next"], {"documents": list(changed)})
    numbered = {row["document"]: msgspec.structs.replace(changed[row["document"]], version=row["version"]) for row in rows}
    artifacts.put(connection, session.keys, "graph", {document: encode(versioned) for document, versioned in numbered.items()})
