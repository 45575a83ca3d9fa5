"""Blocks → pieces: the smallest parts a chunk is put together from, with what stands between them and how close they are.

A paragraph or list item is one piece, a line of code one, a table's row one. Only a piece too long for a chunk is cut further.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from chunkers.text import Part, halves, lines, sentences, squashed, visible
from core.records import Block, BlockKind

# how close a piece is to the one before: the smaller, the sooner both are put into one chunk
ATTACHED, SENTENCE, ITEM, BLOCK = range(4)

_CAPTIONED = frozenset({"table", "code", "formula"})
_INTRODUCED = frozenset({"list_item", "table", "code", "formula"})
_DEEPEST_LIST = 6
_PARTED = ("\n\n", BLOCK)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a block.

    `joint` stands between it and the piece before where both are in one chunk; `bond` says how close the two are.
    `lead` is repeated in front of it where a chunk starts with it: a table's header row.
    """

    text: str
    joint: str = "\n\n"
    bond: int = BLOCK
    page: int | None = None
    lead: str = ""


def pieces(blocks: Sequence[Block]) -> list[Piece]:
    """The pieces of one section's blocks, in reading order. No block may be empty (`is_empty`)."""
    out: list[Piece] = []
    for index, block in enumerate(blocks):
        body = _BODIES[block.kind](block)
        if index and (seam := _seam(blocks, index)) != _PARTED:
            body[0] = replace(body[0], joint=seam[0], bond=seam[1])
        out += body
    return out


def is_empty(block: Block) -> bool:
    """Whether there is nothing to read in it."""
    return not (visible(block.text) or any(visible(cell) for row in block.rows for cell in row))


def cut(piece: Piece) -> list[Piece]:
    """A piece too long for a chunk, as its sentences, or as two halves where it is one sentence. One character stays whole."""
    parts = sentences(piece.text)
    return _parted(piece, parts, SENTENCE) if len(parts) > 1 else halve(piece)


def halve(piece: Piece) -> list[Piece]:
    """Two pieces; one character stays whole."""
    return _parted(piece, halves(piece.text), ATTACHED)


def _parted(piece: Piece, parts: Sequence[Part], bond: int) -> list[Piece]:
    first, *rest = parts
    return [replace(piece, text=first.text), *(Piece(text, joint, bond, piece.page, piece.lead) for joint, text in rest)]


def _seam(blocks: Sequence[Block], index: int) -> tuple[str, int]:
    """What stands between a block and the one before it, and how close they are."""
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
    return [Piece(squashed(block.text), page=block.page)]


def _list_item(block: Block) -> list[Piece]:
    indent = "  " * (min(max(block.level, 1), _DEEPEST_LIST) - 1)
    return [Piece(f"{indent}- {squashed(block.text)}", page=block.page)]


def _code(block: Block) -> list[Piece]:
    """A piece a line. Blank lines are kept as one, and part what stands around them a little."""
    out: list[Piece] = []
    for before, line in pairwise(["", *lines(block.text)]):
        if visible(line):
            joint, bond = ("\n", SENTENCE) if before else ("\n\n", ITEM)
            out.append(Piece(line, joint, bond, block.page) if out else Piece(line, page=block.page))
    return out


def _table(block: Block) -> list[Piece]:
    """A piece a row, cells between bars. The first row stays with the second, and leads wherever a chunk starts further down."""
    rows = [row for row in map(_row, block.rows) if row]
    if not rows:
        return _prose(block)
    header = rows[0]
    first = Piece(header, page=block.page)
    return [first, *(Piece(row, "\n", ITEM if at else ATTACHED, block.page, header) for at, row in enumerate(rows[1:]))]


def _row(cells: Sequence[str]) -> str:
    squashed_cells = [squashed(cell) for cell in cells]
    while squashed_cells and not visible(squashed_cells[-1]):
        squashed_cells.pop()
    return " | ".join(squashed_cells)


_BODIES: Mapping[BlockKind, Callable[[Block], list[Piece]]] = {
    "heading": _prose,
    "paragraph": _prose,
    "caption": _prose,
    "formula": _prose,
    "list_item": _list_item,
    "code": _code,
    "table": _table,
}
