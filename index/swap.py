"""The swap: a document's new chunks replace its old ones in one transaction.

Exact duplicates are stored once, with every document that contains them as a source; a chunk is deleted with its last source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from psycopg.types.json import Jsonb

from core.records import Chunk
from core.sql import statements
from core.tenancy import Connection
from index import lexical


class Version(msgspec.Struct, frozen=True):
    """A document's version to index: what a citation shows, the principals that may read it, and its chunks in order.

    `language`: ISO 639-1, empty if unknown.
    """

    name: str
    title: str
    uri: str
    acl: tuple[str, ...]
    chunks: tuple[Chunk, ...]
    language: str = ""


def lock(connection: Connection) -> None:
    """Wait for the tenant's other swaps. Others wait for the end of this transaction; readers do not."""
    connection.execute(_SQL["lock"])


def swap(connection: Connection, generation: int, model: str, versions: Mapping[str, Version]) -> list[str]:
    """Replace these documents' versions in the generation.

    Returns the documents that could not be swapped because a vector of theirs is missing: their embedding becomes stale, and their old
    version stays.
    """
    lock(connection)
    unembedded = _unembedded(connection, generation, model, versions)
    ready = {document: version for document, version in versions.items() if document not in unembedded}
    if ready:
        chunks = [_chunk(chunk) for version in ready.values() for chunk in version.chunks]
        connection.execute(_SQL["add_chunks"], {"generation": generation, "model": model, "chunks": Jsonb(chunks)})
        before = _drop_sources(connection, list(ready), generation)
        sources = [row for document, version in ready.items() for row in _sources(document, version)]
        readers = [{"document": document, "acl": list(version.acl)} for document, version in ready.items()]
        connection.execute(_SQL["add_sources"], {"generation": generation, "sources": Jsonb(sources), "readers": Jsonb(readers)})
        _drop_orphans(connection, before)
        rows = [{"document": d, "name": v.name, "title": v.title, "uri": v.uri, "language": v.language} for d, v in ready.items()]
        connection.execute(_SQL["list"], {"generation": generation, "documents": Jsonb(rows)})
        lexical.refresh(connection, sorted({*before, *(chunk["text_hash"] for chunk in chunks)}))
    return unembedded


def remove(connection: Connection, documents: Sequence[str]) -> None:
    """Remove documents from every generation; chunks with another source stay."""
    if documents:
        lock(connection)
        before = _drop_sources(connection, documents, None)
        _drop_orphans(connection, before)
        connection.execute(_SQL["unlist"], {"documents": list(documents)})
        if before:
            lexical.refresh(connection, before)


def sweep(connection: Connection, older_than_s: float = 86_400.0) -> int:
    """Delete vectors that no chunk uses and that are older than this. Returns their number."""
    return connection.execute(_SQL["sweep"], {"older_than_s": older_than_s}).rowcount


def _unembedded(connection: Connection, generation: int, model: str, versions: Mapping[str, Version]) -> list[str]:
    sources = [{"document": document, "text_hash": chunk.text_hash} for document, v in versions.items() for chunk in v.chunks]
    values = {"generation": generation, "model": model, "sources": Jsonb(sources)}
    unembedded = [row["document"] for row in connection.execute(_SQL["unembedded"], values)]
    if unembedded:
        connection.execute(_SQL["invalidate_embedding"], {"documents": unembedded})
    return unembedded


def _drop_sources(connection: Connection, documents: Sequence[str], generation: int | None) -> list[str]:
    rows = connection.execute(_SQL["drop_sources"], {"documents": list(documents), "generation": generation})
    return sorted({row["text_hash"] for row in rows})


def _drop_orphans(connection: Connection, text_hashes: list[str]) -> None:
    if text_hashes:
        connection.execute(_SQL["drop_orphans"], {"text_hashes": text_hashes})
        connection.execute(_SQL["drop_unused_embeddings"], {"text_hashes": text_hashes})


def _chunk(chunk: Chunk) -> dict[str, Any]:
    return {
        "text_hash": chunk.text_hash,
        "text": chunk.text,
        "heading_path": list(chunk.heading_path),
        "token_count": chunk.token_count,
    }


def _sources(document: str, version: Version) -> list[dict[str, Any]]:
    return [{"document": document, "text_hash": c.text_hash, "ordinal": c.ordinal, "page": c.page} for c in version.chunks]


_SQL = statements("index", "sql/swap.sql")
