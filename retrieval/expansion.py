"""Expansion: the text around a passage, from the first document that it is cited from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from core.records import convert
from core.sql import statements
from core.tenancy import Connection
from retrieval.citations import Passage
from retrieval.request import Expand

MOST_TOKENS: Final = 1_500
"""Of a passage with what is around it, unless it is longer by itself."""
REACH: Final = 16
"""Chunks that are looked at, before a passage and after it."""


class Chunk(msgspec.Struct, frozen=True):
    """A chunk of the document: its place in it, from 0, and what it says."""

    ordinal: int
    text: str
    heading_path: tuple[str, ...]
    token_count: int


Belongs = Callable[[Chunk, Chunk], bool]


def expanded(connection: Connection, generation: int, passages: Sequence[Passage], expand: Expand) -> list[Passage]:
    """The passages with the text around them, in one statement. `expanded` is empty where nothing around belongs to it.

    `neighbours`: the chunks before and after. `section`: those below the same heading, and below its own headings. `table`: those that are
    parts of the same table, by its header.
    """
    if expand == "none" or not passages:
        return list(passages)
    places = [(one.citations[0].document_key, one.citations[0].ordinal) for one in passages]
    columns = {"documents": [document for document, _ in places], "ordinals": [ordinal for _, ordinal in places]}
    around: dict[int, list[Chunk]] = {}
    reach = 1 if expand == "neighbours" else REACH
    for row in connection.execute(_SQL["around"], {**columns, "generation": generation, "reach": reach}):
        around.setdefault(row.pop("place"), []).append(convert(row, Chunk))
    found = [window(around[place], ordinal, _BELONGS[expand]) for place, (_, ordinal) in enumerate(places, 1)]
    return [replace(one, expanded="\n".join(c.text for c in own) if len(own) > 1 else "") for one, own in zip(passages, found, strict=True)]


def window(chunks: Sequence[Chunk], ordinal: int, belongs: Belongs) -> list[Chunk]:
    """Of these consecutive chunks, the one with this ordinal and those around it that belong to it, without a gap, up to `MOST_TOKENS`."""
    at = next(place for place, chunk in enumerate(chunks) if chunk.ordinal == ordinal)
    first, last, tokens = at, at, chunks[at].token_count
    before, after = True, True
    while before or after:
        before = before and first > 0 and _fits(chunks[at], chunks[first - 1], tokens, belongs)
        if before:
            first, tokens = first - 1, tokens + chunks[first - 1].token_count
        after = after and last + 1 < len(chunks) and _fits(chunks[at], chunks[last + 1], tokens, belongs)
        if after:
            last, tokens = last + 1, tokens + chunks[last + 1].token_count
    return list(chunks[first : last + 1])


def _fits(own: Chunk, other: Chunk, tokens: int, belongs: Belongs) -> bool:
    return tokens + other.token_count <= MOST_TOKENS and belongs(own, other)


def _same_section(own: Chunk, other: Chunk) -> bool:
    return other.heading_path[: len(own.heading_path)] == own.heading_path


def _same_table(own: Chunk, other: Chunk) -> bool:
    """A long table is cut between rows, and each part repeats the header."""
    header = own.text.split("\n", 1)[0]
    return " | " in header and other.heading_path == own.heading_path and other.text.split("\n", 1)[0] == header


_BELONGS: dict[str, Belongs] = {"neighbours": lambda *_: True, "section": _same_section, "table": _same_table}
_SQL = statements("retrieval", "sql/expansion.sql")
