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


class Alike(msgspec.Struct, frozen=True):
    """A near-duplicate of a passage, which is not shown beside it.

    `similarity`: of the two texts' shingles, 0 to 1. `difference`: `core.differences`; empty if they differ in nothing but their headings,
    case and white space.
    """

    chunk: str
    heading_path: tuple[str, ...]
    similarity: float
    difference: str
    citations: tuple[Citation, ...]


class Containing(msgspec.Struct, frozen=True):
    """A longer passage that has most of a passage's text. `containment`: the share of its shingles, 0 to 1."""

    chunk: str
    heading_path: tuple[str, ...]
    containment: float
    citations: tuple[Citation, ...]


class Passage(msgspec.Struct, frozen=True):
    """A passage found: its chunk's id, its text, the headings above it, its score, and its readable sources.

    `text` is the chunk's own, or that of its parent (`chunking.strategy` "hierarchical"); the citations say where the chunk is.

    The score of a vector search is the cosine similarity to the query, -1 to 1. `alike`: its near-duplicates that may be read, in part if
    there are many: `more_alike` is the number of the others. `within`: longer passages that this search found and that contain it.
    `boilerplate`: it stands, or one of its near-duplicates does, in a large share of the tenant's documents. `left_out`: boilerplate
    between this passage and the one before it that the tenant's settings leave out.
    """

    chunk: str
    text: str
    heading_path: tuple[str, ...]
    score: float
    citations: tuple[Citation, ...]
    alike: tuple[Alike, ...] = ()
    more_alike: int = 0
    within: tuple[Containing, ...] = ()
    boilerplate: bool = False
    left_out: int = 0


class Cited(msgspec.Struct, frozen=True):
    """A chunk with its readable sources, of which there is at least one.

    `parent`: equal for chunks that one larger text answers for, which is `text`; None for a chunk that answers for itself.
    """

    chunk: str
    text: str
    heading_path: tuple[str, ...]
    cited: tuple[Citation, ...]
    parent: str | None = None


def cite(connection: Connection, generation: int, chunks: Sequence[str], readers: Sequence[str], top: int) -> list[Cited]:
    """The first `top` of these chunks that have a source which one of the readers may read, in their order."""
    values = {"generation": generation, "chunks": list(chunks), "readers": list(readers), "top": top}
    return [convert(row, Cited) for row in connection.execute(_SQL["cite"], values)]


_SQL = statements("retrieval", "sql/citations.sql")
