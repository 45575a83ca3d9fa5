"""`structure`, the default: along headings, paragraphs, list items, rows and lines; `table` and `code` differ from it in one rule each."""

from __future__ import annotations

from collections.abc import Sequence

from chunkers.meter import TokenMeter
from chunkers.packing import packed
from chunkers.pieces import indented, pieces, rows
from core.records import Block, Chunk


def structure(blocks: Sequence[Block], meter: TokenMeter) -> list[Chunk]:
    """Pieces of one section share a chunk while they fit into three quarters of it; a paragraph that fits stays whole. Short sections are
    joined under the headings that they have in common (`chunkers.joining`).

    Guarantees: every word is in one chunk, and only headings (as paths) and a table's first row are repeated.
    """
    return packed(blocks, meter, pieces)


def table(blocks: Sequence[Block], meter: TokenMeter) -> list[Chunk]:
    """As `structure`, and each row of a table is a chunk of its own, under the table's header."""
    return packed(blocks, meter, rows)


def code(blocks: Sequence[Block], meter: TokenMeter) -> list[Chunk]:
    """As `structure`, and the less a line of code is indented, the sooner a chunk starts there: at functions and classes, then at blocks
    inside them."""
    return packed(blocks, meter, indented)
