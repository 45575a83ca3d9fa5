"""What stages read: frames for the stage folders, what earlier stages left, and the failures beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import polars as pl

from core import artifacts, envelopes
from core.frames import Result
from core.ledger.ledger import Stale
from core.ledger.stage import Session
from core.records import Chunk, Contribution, Envelope, decode, document_context, encode
from core.sql import statements
from core.tenancy import Connection

STORED_BYTES = 16 * 1024 * 1024
"""What a stage takes into memory at a time, as it is stored. One document may be larger.

Documents that do not fit stay stale: the next batch has them."""

Failure = tuple[str, str]
"""A reason code and a detail."""


class Chunked(msgspec.Struct, frozen=True):
    """A document's chunks, and the key of the redacted document that they were cut from.

    The index and the graph read that document too (its title, its links), so a change in it has to reach them even if no chunk changed.
    `context`: what names the document beside its passages.
    """

    redacted: str
    chunks: tuple[Chunk, ...]
    context: str = ""


class Versioned(msgspec.Struct, frozen=True):
    """A contribution as it goes to Neo4j; null if the document was deleted. A higher version always wins there.

    `chunks` are the ids of the document's chunks by ordinal, as they were when the contribution was extracted.
    """

    version: int = 0
    contribution: Contribution | None = None
    chunks: tuple[str, ...] = ()


def frame(schema: Mapping[str, Any], rows: Sequence[Stale], columns: Mapping[str, Mapping[str, Any]]) -> pl.DataFrame:
    """A stage folder's input: each row's keys and, by document, its columns.

    A document whose input is gone has changed since it was found stale, and is left out.
    """
    complete = [row for row in rows if all(row.document in column for column in columns.values())]
    keys = ({"document": row.document, "input_key": row.input_key} for row in complete)
    values = ({name: column[row.document] for name, column in columns.items()} for row in complete)
    return pl.DataFrame([key | value for key, value in zip(keys, values, strict=True)], schema=dict(schema))


def failures(refused: Mapping[str, Failure]) -> list[Result]:
    """A result for each document that failed."""
    return [Result(document, reason=reason, detail=detail) for document, (reason, detail) in refused.items()]


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


def chunked(payloads: Mapping[str, bytes]) -> dict[str, Chunked]:
    """What the chunk stage left."""
    return {document: decode(payload, Chunked) for document, payload in payloads.items()}


def chunks(payloads: Mapping[str, bytes]) -> dict[str, tuple[Chunk, ...]]:
    """The chunks in what the chunk stage left."""
    return {document: of_one.chunks for document, of_one in chunked(payloads).items()}


class _Titled(msgspec.Struct):
    """Of a redacted document, what it is called: its blocks are not read."""

    name: str
    title: str = ""


def contexts(payloads: Mapping[str, bytes]) -> dict[str, str]:
    """By document, what names it beside its passages, from what the redact stage left."""
    titled = {document: decode(payload, _Titled) for document, payload in payloads.items()}
    return {document: document_context(of_one.title, of_one.name) for document, of_one in titled.items()}


def envelope(session: Session, row: Stale) -> Envelope:
    """What the document's event says beside its content."""
    return envelopes.unseal(session.keys, row.envelope or b"", row.document)


def put_versions(connection: Connection, session: Session, extracted: Mapping[str, Versioned]) -> None:
    """Give what changed the next version, under its document's lock, so that versions are in the order of the contributions."""
    before = {d: decode(p, Versioned) for d, p in artifacts.get(connection, session.keys, "graph", list(extracted)).items()}
    changed = {d: v for d, v in extracted.items() if d not in before or v != msgspec.structs.replace(before[d], version=0)}
    versions = next_versions(connection, list(changed))
    numbered = {document: msgspec.structs.replace(changed[document], version=version) for document, version in versions.items()}
    artifacts.put(connection, session.keys, "graph", {document: encode(versioned) for document, versioned in numbered.items()})


def next_versions(connection: Connection, documents: Sequence[str]) -> dict[str, int]:
    """A version for each document, higher than every one before it."""
    rows = connection.execute(statements("pipelines.stages", "sql/versions.sql")["next"], {"documents": list(documents)})
    return {row["document"]: int(row["version"]) for row in rows}
