"""`structure`, the default: along headings, paragraphs, list items, rows and lines; `table` and `code` differ from it in one rule each."""

from __future__ import annotations

from collections.abc import Sequence

from chunkers.bonds import Limit, SizedPiece, pack
from chunkers.drafts import chunks, drafted
from chunkers.meter import TokenMeter
from chunkers.outline import outline
from chunkers.pieces import APART, ATTACHED, Cut, indented, pieces, rows
from chunkers.sizing import sized
from core.records import Block, Chunk

JOINED_SHARE = 0.75
"""Pieces are joined up to this share of a section's budget. A chunk that is filled to the bound mixes more subjects: at 256 tokens, a
share of 1 has a lower intersection over union (.053, against .068) and no better recall (`benchmarks.chunking`)."""

ROWS_SHARE = 0.25
"""The same of a table's rows. Each row is a fact of its own, so that a question about one is nearer to a few rows than to many."""

HEADER_SHARE = 0.25
"""Of a group of rows, at most this share is the repeated header."""


def structure(blocks: Sequence[Block], meter: TokenMeter) -> list[Chunk]:
    """Pieces of one section share a chunk while they fit into three quarters of it; a paragraph that fits stays whole.

    Guarantees: no chunk spans two sections; every word is in one chunk, and only headings (as paths) and a table's first row are
    repeated.
    """
    return _chunks(blocks, meter, pieces)


def table(blocks: Sequence[Block], meter: TokenMeter) -> list[Chunk]:
    """As `structure`, and each row of a table is a chunk of its own, under the table's header."""
    return _chunks(blocks, meter, rows)


def code(blocks: Sequence[Block], meter: TokenMeter) -> list[Chunk]:
    """As `structure`, and the less a line of code is indented, the sooner a chunk starts there: at functions and classes, then at blocks
    inside them."""
    return _chunks(blocks, meter, indented)


def limit(budget: int) -> Limit:
    """How much a section with this budget joins."""
    joined = int(JOINED_SHARE * budget)

    def most(part: SizedPiece) -> int:
        if part.piece.bond == APART:
            return 0
        if part.piece.bond == ATTACHED:
            return budget
        return min(joined, max(int(ROWS_SHARE * budget), int(part.lead_size / HEADER_SHARE))) if part.piece.lead else joined

    return most


def _chunks(blocks: Sequence[Block], meter: TokenMeter, cut: Cut) -> list[Chunk]:
    sections = outline(blocks, meter)
    parts = zip(sections, sized(sections, meter, cut), strict=True)
    return chunks((drafted(section.path, group) for section, own in parts for group in pack(own, limit(section.budget))), meter)
