"""Blocks → pieces: the smallest parts of a chunk, their separators, and how closely each belongs to the one before.

A paragraph, a list item, a line of code and a table row are a piece each. Only a piece too long for a chunk is split further.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from chunkers.text import Part, halves, lines, one_line, sentences, visible
from core.records import Block, BlockKind

# how closely a piece belongs to the one before: smaller values share a chunk first
ATTACHED, SENTENCE, ITEM, BLOCK = range(4)

_CAPTIONED = frozenset({"table", "code", "formula"})
_INTRODUCED = frozenset({"list_item", "table", "code", "formula"})
_DEEPEST_LIST = 6
_PARTED = ("\n\n", BLOCK)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a block.

    `joint` separates it from the piece before in the same chunk; `bond` is how closely the two belong together.
    `lead`, a table's header row, is repeated in front of it if it starts a chunk.
    """

    text: str
    joint: str = "\n\n"
    bond: int = BLOCK
    page: int | None = None
    lead: str = ""


def pieces(blocks: Sequence[Block]) -> list[Piece]:
    """Return the pieces of one section's blocks, in reading order. No block may be empty (`is_empty`)."""
    out: list[Piece] = []
    for index, block in enumerate(blocks):
        body = _BODIES[block.kind](block)
        if index and (seam := _seam(blocks, index)) != _PARTED:
            body[0] = replace(body[0], joint=seam[0], bond=seam[1])
        out += body
    return out


def is_empty(block: Block) -> bool:
    """Whether a block has no visible text."""
    return not (visible(block.text) or any(visible(cell) for row in block.rows for cell in row))


def split(piece: Piece) -> list[Piece]:
    """Split a piece that is too long for a chunk into sentences, or a single sentence into halves. A single character stays whole."""
    parts = sentences(piece.text)
    return _parted(piece, parts, SENTENCE) if len(parts) > 1 else halve(piece)


def halve(piece: Piece) -> list[Piece]:
    """Split a piece into two. A single character stays whole."""
    return _parted(piece, halves(piece.text), ATTACHED)


def _parted(piece: Piece, parts: Sequence[Part], bond: int) -> list[Piece]:
    first, *rest = parts
    return [replace(piece, text=first.text), *(Piece(text, joint, bond, piece.page, piece.lead) for joint, text in rest)]


def _seam(blocks: Sequence[Block], index: int) -> tuple[str, int]:
    """Return the separator between a block and the one before, and their bond."""
    before, block = blocks[index - 1], blocks[index]
    after = blocks[index + 1].kind if index + 1 < len(blocks) else None
    if before.kind == block.kind == "list_item":
        return "\n", ITEM
    if block.kind == "caption" and after not in _CAPTIONED:
        return "\n", ATTACHED
    if before.kind == "caption" and (block.kind in _CAPTIONED or index == 1):
        return "\n", ATTACHED
    introduces = block.kind in _INTRODUCED and before.text.rstrip().endswith(":")
    return ("\n\n", ITEM) if introduces else _PARTED


def _prose(block: Block) -> list[Piece]:
    return [Piece(one_line(block.text), page=block.page)]


def _list_item(block: Block) -> list[Piece]:
    indent = "  " * (min(max(block.level, 1), _DEEPEST_LIST) - 1)
    return [Piece(f"{indent}- {one_line(block.text)}", page=block.page)]


def _code(block: Block) -> list[Piece]:
    """One piece per line. Blank lines become one, and weaken the bond of the lines around them."""
    out: list[Piece] = []
    for before, line in pairwise(["", *lines(block.text)]):
        if visible(line):
            joint, bond = ("\n", SENTENCE) if before else ("\n\n", ITEM)
            out.append(Piece(line, joint, bond, block.page) if out else Piece(line, page=block.page))
    return out


def _table(block: Block) -> list[Piece]:
    """One piece per row, cells separated by bars. The first row stays with the second, and leads chunks that start further down."""
    rows = [row for row in map(_row, block.rows) if row]
    if not rows:
        return _prose(block)
    header = rows[0]
    first = Piece(header, page=block.page)
    return [first, *(Piece(row, "\n", ITEM if at else ATTACHED, block.page, header) for at, row in enumerate(rows[1:]))]


def _row(cells: Sequence[str]) -> str:
    kept = [one_line(cell) for cell in cells]
    while kept and not visible(kept[-1]):
        kept.pop()
    return " | ".join(kept)


_BODIES: Mapping[BlockKind, Callable[[Block], list[Piece]]] = {
    "heading": _prose,
    "paragraph": _prose,
    "caption": _prose,
    "formula": _prose,
    "list_item": _list_item,
    "code": _code,
    "table": _table,
}
