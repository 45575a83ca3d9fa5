"""The answer: passages, and the citations that say where each comes from. What may be cited is decided here, for every way to search."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from core.records import convert
from core.sql import statements
from core.tenancy import Connection
from retrieval.access import Scope


class Citation(msgspec.Struct, frozen=True):
    """One readable source of a passage. `document` is its id after redaction; `page` is 1-based, None if the format has no pages.

    `ordinal`: the passage's place in the document, from 0. `source`, `media_type`: empty if unknown. `event_time`: when the source says
    that this version came to be, None if it does not; `indexed_at`: since when it is found.
    """

    document: str
    document_key: str
    title: str
    uri: str
    page: int | None
    ordinal: int
    sequence: int
    source: str = ""
    media_type: str = ""
    event_time: datetime | None = None
    indexed_at: datetime | None = None


class Scores(msgspec.Struct, frozen=True):
    """What a passage's score is made of; None for what the mode did not compute.

    `cosine`: -1 to 1. `calibrated`: the cosine as it is added (`retrieval.fusion`). `bm25`: the share of what a passage full of the query's
    terms could have, 0 to 1. `reranked`: the reranker's own, on its scale.
    """

    cosine: float | None = None
    calibrated: float | None = None
    bm25: float | None = None
    reranked: float | None = None


class Matched(msgspec.Struct, frozen=True):
    """Why a passage has the query's words. `terms`: the query's, as they are compared. `highlights`: spans of characters of its text."""

    terms: tuple[str, ...] = ()
    highlights: tuple[tuple[int, int], ...] = ()


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

    `score`: by the mode, what the passages are sorted by, and it depends on no other passage found; `scores`: what it is made of.
    `instructions`: 0 to 1, how much the text that is shown reads like instructions to a language model (`core.instructions`): such a
    passage is an attack, or about instructions. `matched`: on request (`explain`). `expanded`: the text around it, on request (`expand`);
    empty if there is none. `alike`: its near-duplicates that may be read, in part if there are many: `more_alike` is the number of the
    others. `within`: longer passages that this search found and that contain it. `boilerplate`: it stands, or one of its near-duplicates
    does, in a large share of the tenant's documents. `left_out`: boilerplate between this passage and the one before it that the tenant's
    settings leave out.
    """

    chunk: str
    text: str
    heading_path: tuple[str, ...]
    score: float
    citations: tuple[Citation, ...]
    scores: Scores = Scores()
    instructions: float = 0.0
    matched: Matched | None = None
    expanded: str = ""
    alike: tuple[Alike, ...] = ()
    more_alike: int = 0
    within: tuple[Containing, ...] = ()
    boilerplate: bool = False
    left_out: int = 0

    @property
    def place(self) -> tuple[float, str]:
        """What rankings are sorted by."""
        return -self.score, self.chunk

    @property
    def shown(self) -> str:
        """The text with what is around it."""
        return self.expanded or self.text


class Cited(msgspec.Struct, frozen=True):
    """A chunk with its readable sources, of which there is at least one.

    `parent`: equal for chunks that one larger text answers for, which is `text`; None for a chunk that answers for itself.
    """

    chunk: str
    text: str
    heading_path: tuple[str, ...]
    cited: tuple[Citation, ...]
    parent: str | None = None


def cite(connection: Connection, scope: Scope, chunks: Sequence[str], top: int) -> list[Cited]:
    """The first `top` of these chunks that have a source in the scope, in their order; only such sources are cited."""
    values = {**scope.values, "chunks": list(chunks), "top": top}
    return [convert(row, Cited) for row in connection.execute(scope.statement(_SQL["cite"]), values)]


_SQL = statements("retrieval", "sql/citations.sql")
