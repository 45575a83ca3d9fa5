"""The swap: a document's new chunks replace its old ones in one transaction.

Exact duplicates are stored once, with every document that contains them as a source; a chunk is deleted with its last source.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from psycopg.types.json import Jsonb

from core import access_lists
from core.policy import NearDuplicates
from core.records import Chunk, text_hash
from core.sql import statements
from core.swap_lock import lock_swaps
from core.tenancy import Connection
from index import lexical, near_duplicates


class Version(msgspec.Struct, frozen=True):
    """A document's version to index: what a citation shows, the principals that may read it, and its chunks in order. All of it redacted.

    `language`: ISO 639-1, empty if unknown. `source`, `media_type`, `metadata`: what searches filter by.
    `context`: what names the document beside its passages (`core.records.document_context`).
    """

    name: str
    title: str
    uri: str
    acl: tuple[str, ...]
    chunks: tuple[Chunk, ...]
    language: str = ""
    context: str = ""
    source: str = ""
    media_type: str = ""
    metadata: Mapping[str, str] = {}

    @property
    def context_hash(self) -> str:
        """Of its vector; empty without a context."""
        return text_hash(self.context) if self.context else ""


MOST_CONTEXTS = 4
"""In a chunk's vector and terms: a passage that more documents have in common is not about one of them."""


def swap(
    connection: Connection,
    generation: int,
    model: str,
    versions: Mapping[str, Version],
    rules: NearDuplicates | None = None,
    counts: Counter[str] | None = None,
) -> list[str]:
    """Replace these documents' versions in the generation. `rules`: for a new generation's near-duplicates, which `counts` are of.

    Returns the documents that could not be swapped because a vector of theirs is missing: their embedding becomes stale, and their old
    version stays.
    """
    lock_swaps(connection)
    unembedded = _unembedded(connection, generation, model, versions)
    ready = {document: version for document, version in versions.items() if document not in unembedded}
    if ready:
        lists, contexts = access_lists.of_documents(connection, list(ready)), _contexts(connection, list(ready))
        access = _access(connection, ready)
        _list(connection, generation, ready, access)
        chunks = chunk_rows(ready, access)
        connection.execute(_SQL["add_chunks"], {"generation": generation, "model": model, "chunks": Jsonb(chunks)})
        before = _drop_sources(connection, list(ready), generation)
        sources = [row for document, version in ready.items() for row in _sources(document, version)]
        connection.execute(_SQL["add_sources"], {"generation": generation, "sources": Jsonb(sources)})
        near_duplicates.begin(connection, generation, rules or NearDuplicates())
        every = sorted({*before, *(chunk["text_hash"] for chunk in chunks)})
        lists |= _refresh(connection, every, before, contexts, counts)
        access_lists.drop_unused(connection, lists.difference(access.values()))
    return unembedded


def remove(connection: Connection, documents: Sequence[str]) -> None:
    """Remove documents from every generation; chunks with another source stay."""
    if documents:
        lock_swaps(connection)
        lists, contexts = access_lists.of_documents(connection, documents), _contexts(connection, documents)
        before = _drop_sources(connection, documents, None)
        connection.execute(_SQL["unlist"], {"documents": list(documents)})
        lists |= _refresh(connection, before, before, contexts)
        access_lists.drop_unused(connection, lists)


def sweep(connection: Connection, older_than_s: float = 86_400.0) -> int:
    """Delete vectors that no chunk uses and that are older than this. Returns their number."""
    return connection.execute(_SQL["sweep"], {"older_than_s": older_than_s}).rowcount


def _unembedded(connection: Connection, generation: int, model: str, versions: Mapping[str, Version]) -> list[str]:
    sources = [
        {"document": document, "text_hash": one, "context": version.context_hash}
        for document, version in versions.items()
        for one in (*(chunk.text_hash for chunk in version.chunks), version.context_hash)
        if one
    ]
    values = {"generation": generation, "model": model, "sources": Jsonb(sources)}
    unembedded = [row["document"] for row in connection.execute(_SQL["unembedded"], values)]
    if unembedded:
        connection.execute(_SQL["invalidate_embedding"], {"documents": unembedded})
    return unembedded


def _drop_sources(connection: Connection, documents: Sequence[str], generation: int | None) -> list[str]:
    rows = connection.execute(_SQL["drop_sources"], {"documents": list(documents), "generation": generation})
    return sorted({row["text_hash"] for row in rows})


def _refresh(
    connection: Connection, text_hashes: list[str], before: list[str], contexts: list[str], counts: Counter[str] | None = None
) -> set[int]:
    """Bring what is derived of these texts up to date. `before`: those that lost a source; `contexts`: those that documents had.

    `counts`: of near-duplicates, added to. Returns the access lists that chunks lost.
    """
    lists: set[int] = set()
    if before:
        lists.update(row["access"] for row in connection.execute(_SQL["drop_orphans"], {"text_hashes": before}))
    if text_hashes:
        lists |= access_lists.refresh(connection, text_hashes)
        lacking = connection.execute(_SQL["refresh_contexts"], {"text_hashes": text_hashes, "most": MOST_CONTEXTS}).fetchall()
        if lacking:
            connection.execute(_SQL["invalidate_both"], {"documents": [row["document"] for row in lacking]})
        lexical.refresh(connection, text_hashes)
        found = near_duplicates.refresh(connection, text_hashes)
        if counts is not None:
            counts.update(found)
    if before or contexts:
        connection.execute(_SQL["drop_unused_embeddings"], {"text_hashes": [*before, *contexts]})
    return lists


def _contexts(connection: Connection, documents: Sequence[str]) -> list[str]:
    """The hashes of these documents' contexts, in any generation."""
    return [row["context_hash"] for row in connection.execute(_SQL["contexts_of"], {"documents": list(documents)})]


def _access(connection: Connection, versions: Mapping[str, Version]) -> dict[str, int]:
    """Document → number of its access list, stored if it is new."""
    lists = sorted({version.acl for version in versions.values()})
    numbers = dict(zip(lists, access_lists.numbers(connection, lists), strict=True))
    return {document: numbers[version.acl] for document, version in versions.items()}


def _list(connection: Connection, generation: int, versions: Mapping[str, Version], access: Mapping[str, int]) -> None:
    rows = [_listed(document, version) | {"access": access[document]} for document, version in versions.items()]
    connection.execute(_SQL["list"], {"generation": generation, "documents": Jsonb(rows)})


def _listed(document: str, version: Version) -> dict[str, Any]:
    shown = {"name": version.name, "title": version.title, "uri": version.uri, "language": version.language}
    filtered = {"source": version.source, "media_type": version.media_type, "metadata": dict(version.metadata)}
    return {"document": document, **shown, **filtered, "context": version.context, "context_hash": version.context_hash}


def chunk_rows(versions: Mapping[str, Version], access: Mapping[str, int]) -> list[dict[str, Any]]:
    """A row for each text, with the list that all its sources among these documents have, or 0, and their contexts."""
    chunks: dict[str, Chunk] = {}
    lists: dict[str, set[int]] = {}
    contexts: dict[str, set[str]] = {}
    for document, version in versions.items():
        for chunk in version.chunks:
            chunks[chunk.text_hash] = chunk
            lists.setdefault(chunk.text_hash, set()).add(access[document])
            contexts.setdefault(chunk.text_hash, set()).add(version.context_hash)
    return [_chunk(chunk, lists[one], contexts[one]) for one, chunk in chunks.items()]


def _chunk(chunk: Chunk, lists: set[int], contexts: set[str]) -> dict[str, Any]:
    """A reader of one source must not learn from a rank what another one is called: no contexts where access differs."""
    named = len(lists) == 1 and len(contexts) <= MOST_CONTEXTS
    return {
        "text_hash": chunk.text_hash,
        "text": chunk.text,
        "heading_path": list(chunk.heading_path),
        "token_count": chunk.token_count,
        "access": min(lists) if len(lists) == 1 else access_lists.MIXED,
        "contexts": sorted(contexts - {""}) if named else [],
    }


def _sources(document: str, version: Version) -> list[dict[str, Any]]:
    return [_source(document, chunk) for chunk in version.chunks]


def _source(document: str, chunk: Chunk) -> dict[str, Any]:
    first, last = chunk.parent or (None, None)
    return {
        "document": document,
        "text_hash": chunk.text_hash,
        "ordinal": chunk.ordinal,
        "page": chunk.page,
        "parent_first": first,
        "parent_last": last,
    }


_SQL = statements("index", "sql/swap.sql")
