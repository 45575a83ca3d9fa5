"""Documents that a reader may read: what they are called, their passages, where a passage stands, and which have passages in common.

What one may not read is as if it were not there: it is in no answer and in no count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

import msgspec

from core.errors import HeadraceError
from core.records import convert
from core.sql import statements
from core.tenancy import Connection

OpenReader = Callable[[], AbstractContextManager[Connection]]
"""Opens a transaction under the tenant's reader role, in which all statements see the same state."""

MOST_PASSAGES = 500
"""Of a document, in one answer."""
MOST_DOCUMENTS = 20
"""That contain a passage, or are related to a document, in one answer."""
SOURCES = 1_000
"""Documents of one passage, and passages of one document, that are looked at."""


class Document(msgspec.Struct, frozen=True):
    """A document in the active generation. `document`: its id after redaction; `sequence`: of the version that is indexed."""

    document_key: str
    document: str
    title: str
    uri: str
    language: str
    sequence: int
    indexed_at: datetime


class DocumentPassage(msgspec.Struct, frozen=True):
    """A passage of a document. `ordinal` counts from 0 in reading order; `page` is 1-based, None if the format has no pages."""

    chunk: str
    ordinal: int
    page: int | None
    heading_path: tuple[str, ...]
    text: str


class DocumentText(msgspec.Struct, frozen=True):
    """A document and some of its passages, in reading order. `next`: the ordinal that the next part begins with, None at the end."""

    document: Document
    passages: tuple[DocumentPassage, ...]
    next: int | None


class Origin(msgspec.Struct, frozen=True):
    """A document, and the ordinals at which the passage that was asked for stands in it; none if a document was asked for."""

    document: Document
    ordinals: tuple[int, ...] = ()


class RelatedDocument(msgspec.Struct, frozen=True):
    """A document that has passages of another one: `shared`, the same text; `alike`, near-duplicates alone."""

    document_key: str
    document: str
    title: str
    uri: str
    shared: int
    alike: int


class Related(msgspec.Struct, frozen=True):
    """A document, and those that have passages in common with it: those with most first."""

    document: Document
    related: tuple[RelatedDocument, ...]


def text(open_reader: OpenReader, names: Sequence[str], readers: Sequence[str], first: int = 0, most: int = 100) -> DocumentText:
    """The passages of the document with one of these keys, from the ordinal `first` on. Raises HeadraceError `unknown-document`."""
    with open_reader() as connection:
        document, generation = _one(connection, names, readers)
        values = {"generation": generation, "document": document.document_key, "first": first, "most": most + 1}
        found = [convert(row, DocumentPassage) for row in connection.execute(_SQL["passages"], values)]
    return DocumentText(document, tuple(found[:most]), found[most].ordinal if len(found) > most else None)


def origins(open_reader: OpenReader, names: Sequence[str], readers: Sequence[str]) -> list[Origin]:
    """The documents with one of these keys, or that contain the passage with such an id, `MOST_DOCUMENTS` at most.

    Raises HeadraceError `unknown-document`.
    """
    with open_reader() as connection:
        found = _readable(connection, names, names, readers)
        documents = [document.document_key for document, _ in found]
        values = {"generation": found[0][1] if found else None, "chunks": list(names), "documents": documents}
        at = {row["document"]: tuple(row["ordinals"]) for row in connection.execute(_SQL["occurrences"], values)}
    if not found:
        raise unknown()
    return [Origin(document, at.get(document.document_key, ())) for document, _ in found]


def related(open_reader: OpenReader, names: Sequence[str], readers: Sequence[str]) -> Related:
    """The documents that have passages in common with the one of these keys. Raises HeadraceError `unknown-document`."""
    with open_reader() as connection:
        document, generation = _one(connection, names, readers)
        values = {"generation": generation, "document": document.document_key, "readers": list(readers)}
        bounds = {"passages": SOURCES, "sources": SOURCES, "most": MOST_DOCUMENTS}
        rows = connection.execute(_SQL["related"], values | bounds).fetchall()
    return Related(document, tuple(convert(row, RelatedDocument) for row in rows))


def unknown() -> HeadraceError:
    """The same for what does not exist and for what may not be read. The id is not repeated: it may be personal data."""
    remedy = "Name it by its id, by a citation's `document_key`, or by a passage's `chunk`."
    return HeadraceError("there is no such document that you may read", reason="unknown-document", remedy=remedy)


def _one(connection: Connection, names: Sequence[str], readers: Sequence[str]) -> tuple[Document, int]:
    found = _readable(connection, names, (), readers)
    if not found:
        raise unknown()
    return min(found, key=lambda one: names.index(one[0].document_key))


def _readable(connection: Connection, keys: Sequence[str], chunks: Sequence[str], readers: Sequence[str]) -> list[tuple[Document, int]]:
    """With the generation that they are in."""
    values = {"keys": list(keys), "chunks": list(chunks), "readers": list(readers), "most": MOST_DOCUMENTS}
    rows = connection.execute(_SQL["readable"], values).fetchall()
    return [(convert({name: row[name] for name in Document.__struct_fields__}, Document), row["generation"]) for row in rows]


_SQL = statements("retrieval", "sql/documents.sql")
