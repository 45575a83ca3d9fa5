"""Export: a tenant's redacted data as Parquet files and a manifest, readable without Headrace.

Everything is read in one transaction under the tenant's role, from one snapshot, in parts. Nothing that precedes redaction is read:
envelopes stay sealed, and a document whose present version is not redacted yet is exported with its key, numbers, times and access list
only, because its older texts belong to the older access list. Principals are in clear, as in the columns that they come from: without them
access could not be enforced elsewhere. The folder appears complete or not at all: it is written under another name beside its place, and
renamed once its manifest is in it.
"""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import polars as pl

from core import artifacts
from core.errors import HeadraceError
from core.ledger.stage import Session
from core.records import decode
from core.sql import statements
from core.tenancy import Connection
from pipelines.governance import audit
from pipelines.resources import Resources
from pipelines.stages.inputs import STORED_BYTES, Versioned

FORMAT = 1
MANIFEST = "manifest.json"
ROWS = 5_000
"""Per file, and so in memory at a time."""
PAGE = 64
"""Documents whose artifacts are read together."""

Row = dict[str, Any]

_TIME = pl.Datetime("us", "UTC")
_TEXTS = pl.List(pl.String)
_PLACE: Mapping[str, Any] = {"partition": pl.Int32, "offset": pl.Int64}
_SHOWN: Mapping[str, Any] = {"name": pl.String, "title": pl.String, "uri": pl.String}

SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "documents": {
        "document": pl.String,
        "redacted": pl.Boolean,
        **_SHOWN,
        "metadata": pl.String,
        "found": pl.String,
        "parent": pl.String,
        "sequence": pl.Int64,
        **dict.fromkeys(("event_time", "received_at", "landed_at"), _TIME),
        "acl": _TEXTS,
    },
    "chunks": {"chunk": pl.String, "text": pl.String, "heading_path": _TEXTS, "token_count": pl.Int32},
    "sources": {
        "chunk": pl.String,
        "document": pl.String,
        "ordinal": pl.Int32,
        "page": pl.Int32,
        "acl": _TEXTS,
        **_SHOWN,
        "sequence": pl.Int64,
    },
    "entities": {"document": pl.String, "key": pl.String, "kind": pl.String, "name": pl.String},
    "mentions": {"document": pl.String, "entity": pl.String, "ordinal": pl.Int32, "count": pl.Int32},
    "relations": {"document": pl.String, "source": pl.String, "kind": pl.String, "target": pl.String},
    "outcomes": {
        **_PLACE,
        **dict.fromkeys(("document", "operation"), pl.String),
        "sequence": pl.Int64,
        "fate": pl.String,
        **dict.fromkeys(("event_time", "received_at", "landed_at"), _TIME),
    },
    "dead_letters": {
        **_PLACE,
        **dict.fromkeys(("stage", "document", "reason"), pl.String),
        "attempts": pl.Int32,
        **dict.fromkeys(("first_at", "last_at", "resolved_at"), _TIME),
    },
}
"""Table → column → type. `metadata` and `found` are JSON objects; `chunks` also has `embedding` on request."""

GRAPH = ("entities", "mentions", "relations")


class _Shown(msgspec.Struct, frozen=True):
    """The exported fields of a redacted document; its passages come from the index."""

    name: str
    title: str = ""
    uri: str = ""
    metadata: dict[str, str] = {}
    found: dict[str, int] = {}


def export(resources: Resources, tenant: str, folder: Path, *, embeddings: bool = False) -> dict[str, Any]:
    """Write the tenant's export into `folder`, which must not exist or be empty. Returns the manifest.

    Raises TenantError, and HeadraceError `export-not-empty`, `export-not-writable`.
    """
    session = resources.session(tenant)
    with audit.recorded(resources, "export", tenant, embeddings=embeddings) as act, _complete_folder(folder) as place:
        manifest = _write(session, place, embeddings=embeddings)
        act.details.update({name: table["rows"] for name, table in manifest["tables"].items()})
    return manifest


@contextmanager
def _complete_folder(folder: Path) -> Iterator[Path]:
    """A folder to write in, readable by its owner only. It gets its name when the block ends, and is deleted if the block raises."""
    folder = folder.absolute()
    place = folder.parent / f".{folder.name}.{uuid4().hex}.partial"
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise _not_empty(folder)
        place.mkdir(mode=0o700)
        try:
            yield place
            _sync(place)
            place.rename(folder)
            _sync(folder.parent)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise _not_empty(folder) from None
        why = error.strerror or type(error).__name__
        raise HeadraceError(f"{folder} cannot be written: {why}", reason="export-not-writable", remedy="Name a writable folder.") from None


def _not_empty(folder: Path) -> HeadraceError:
    return HeadraceError(f"{folder} exists and is not empty", reason="export-not-empty", remedy="Name a folder that does not exist.")


def _sync(folder: Path) -> None:
    """Make the folder's entries survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass
class _Table:
    """One table being written: files of at most `ROWS` rows. A table without rows has one empty file, so that its columns can be read."""

    name: str
    schema: Mapping[str, Any]
    place: Path
    waiting: list[Row] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)

    def add(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self.waiting.append(row)
            if len(self.waiting) == ROWS:
                self._flush()

    def finish(self) -> dict[str, Any]:
        """Write the last rows. Returns the table's part of the manifest."""
        if self.waiting or not self.files:
            self._flush()
        columns = {column: str(kind) for column, kind in self.schema.items()}
        return {"rows": sum(file["rows"] for file in self.files), "columns": columns, "files": self.files}

    def _flush(self) -> None:
        frame, buffer = pl.DataFrame(self.waiting, schema=dict(self.schema), orient="row"), io.BytesIO()
        frame.write_parquet(buffer, compression="zstd")
        path = f"{self.name}-{len(self.files):05}.parquet"
        packed = buffer.getvalue()
        _save(self.place / path, packed)
        self.files.append({"path": path, "rows": frame.height, "bytes": len(packed), "sha256": sha256(packed).hexdigest()})
        self.waiting.clear()


def _save(path: Path, packed: bytes) -> None:
    with path.open("xb") as file:
        file.write(packed)
        file.flush()
        os.fsync(file.fileno())


def _write(session: Session, place: Path, *, embeddings: bool) -> dict[str, Any]:
    vectors: Mapping[str, Any] = {"embedding": pl.List(pl.Float32)} if embeddings else {}
    schemas = {**SCHEMAS, "chunks": {**SCHEMAS["chunks"], **vectors}}
    tables = {name: _Table(name, schema, place) for name, schema in schemas.items()}
    with session.database.snapshot(session.tenant) as connection:
        at = datetime.now(UTC)
        found = connection.execute(_SQL["generation"]).fetchall()
        generation = {"generation": found[0].pop("generation") if found else None}
        for name, query in (("chunks", "embedded_chunks" if embeddings else "chunks"), ("sources", "sources")):
            tables[name].add(_streamed(connection, query, generation))
        for name in ("outcomes", "dead_letters"):
            tables[name].add(_streamed(connection, name, {}))
        for page in _pages(connection):
            tables["documents"].add(_documents(connection, session, page))
            for contributed in _artifacts(connection, session, "graph", _done(page, "graph")):
                for name in GRAPH:
                    tables[name].add(_contributed(*contributed, name))
    manifest = {
        "format": FORMAT,
        "tenant": session.tenant,
        "exported_at": at.isoformat(timespec="seconds"),
        "headrace": version("headrace"),
        "index": found[0] if found else None,
        "in_clear": "acl: the principals that access is enforced by",
        "tables": {name: table.finish() for name, table in tables.items()},
    }
    _save(place / MANIFEST, json.dumps(manifest, indent=2).encode())
    return manifest


def _streamed(connection: Connection, name: str, values: Mapping[str, Any]) -> Iterator[Row]:
    """A query's rows, fetched in parts by a server-side cursor."""
    with connection.cursor(name="export") as cursor:
        cursor.itersize = max(1, ROWS // 10)  # with 0, psycopg returns no rows
        yield from cursor.execute(_SQL[name], values)


def _pages(connection: Connection) -> Iterator[dict[str, Row]]:
    """Live documents by key, a page at a time."""
    after = ""
    while rows := connection.execute(_SQL["documents"], {"after": after, "limit": PAGE}).fetchall():
        after = rows[-1]["document"]
        yield {row["document"]: row for row in rows}


def _documents(connection: Connection, session: Session, page: Mapping[str, Row]) -> Iterator[Row]:
    waiting = {document: {name: value for name, value in row.items() if name != "done"} for document, row in page.items()}
    for document, payload in _artifacts(connection, session, "redact", _done(page, "redact")):
        shown = msgspec.to_builtins(decode(payload, _Shown))
        as_json = {name: json.dumps(shown.pop(name), ensure_ascii=False) for name in ("metadata", "found")}
        yield {**waiting.pop(document), **shown, **as_json, "redacted": True}
    for row in waiting.values():
        yield {**row, **dict.fromkeys((*_SHOWN, "metadata", "found")), "redacted": False}


def _done(page: Mapping[str, Row], stage: str) -> list[str]:
    """The documents whose artifact of this stage belongs to their newest state."""
    return [document for document, row in page.items() if stage in row["done"]]


def _artifacts(connection: Connection, session: Session, stage: str, documents: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """(document, artifact) of those documents that have one; no more in memory at a time than a stage takes."""
    while found := artifacts.get(connection, session.keys, stage, documents, STORED_BYTES):
        yield from found.items()
        documents = [document for document in documents if document > max(found)]


def _contributed(document: str, payload: bytes, name: str) -> Iterator[Row]:
    contribution = decode(payload, Versioned).contribution
    if contribution:
        for record in getattr(contribution, name):
            yield {"document": document, **msgspec.structs.asdict(record)}


_SQL = statements("pipelines.governance", "sql/export.sql")
