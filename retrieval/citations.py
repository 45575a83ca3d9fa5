"""The answer: passages, and the citations that say where each comes from. What may be cited is decided here, for every way to search."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from core.records import convert
from core.sql import statements
from core.tenancy import Connection


class Citation(msgspec.Struct, frozen=True):
    """One readable source of a passage. `document` is its id after redaction; `page` is 1-based, None if the format has no pages."""

    document: str
    document_key: str
    title: str
    uri: str
    page: int | None
    ordinal: int
    sequence: int


class Passage(msgspec.Struct, frozen=True):
    """A passage found: its chunk's id, its text, the headings above it, its score, and its readable sources.

    The score of a vector search is the cosine similarity to the query, -1 to 1.
    """

    chunk: str
    text: str
    heading_path: tuple[str, ...]
    score: float
    citations: tuple[Citation, ...]


class Cited(msgspec.Struct, frozen=True):
    """A chunk with its readable sources, of which there is at least one."""

    chunk: str
    text: str
    heading_path: tuple[str, ...]
    cited: tuple[Citation, ...]


def cite(connection: Connection, generation: int, chunks: Sequence[str], readers: Sequence[str], top: int) -> list[Cited]:
    """The first `top` of these chunks that have a source which one of the readers may read, in their order."""
    values = {"generation": generation, "chunks": list(chunks), "readers": list(readers), "top": top}
    return [convert(row, Cited) for row in connection.execute(_SQL["cite"], values)]


_SQL = statements("retrieval", "sql/citations.sql")
