"""Blocks → pieces: the smallest parts of a chunk, their separators, and how closely each belongs to the one before.

A paragraph, a list item, a line of code and a table row are a piece each. Only a piece too long for a chunk is split further.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from chunkers.text import Part, halves, lines, one_line, sentences, unwrapped, visible
from core.records import Block, BlockKind

# how closely a piece belongs to the one before: smaller values share a chunk first, and the last never
ATTACHED, SENTENCE, ITEM, BLOCK, APART = range(5)

_CAPTIONED = frozenset({"table", "code", "formula"})
_INTRODUCED = frozenset({"list_item", "table", "code", "formula"})
_DEEPEST_LIST = 6
_PARTED = ("\n\n", BLOCK)
_DEEPEST = 64
_CONTINUES = re.compile(r"\s*([)\]}>]|(else|elif|except|finally|catch|end|then|do|done|fi|esac)\b)")
_ANNOUNCES = re.compile(r"\s*(@|#|//|/\*|\*|--)")


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


Cut = Callable[[Sequence[Block]], list[Piece]]
"""The blocks of a section, none empty (`is_empty`) → its pieces, in reading order."""


def pieces(blocks: Sequence[Block]) -> list[Piece]:
    """Return the pieces of one section's blocks, in reading order. No block may be empty (`is_empty`)."""
    return _pieces(blocks, _BODIES)


def indented(blocks: Sequence[Block]) -> list[Piece]:
    """As `pieces`; of code, the more a line is indented, the more closely it belongs to the one before."""
    return _pieces(blocks, {**_BODIES, "code": _indented_code})


def rows(blocks: Sequence[Block]) -> list[Piece]:
    """As `pieces`, and a table's rows are apart from each other and from what is around the table. Its header stays with its first row."""
    found = _pieces(blocks, {**_BODIES, "table": lambda block: [_apart(piece, {ITEM, BLOCK}) for piece in _table(block)]})
    return [*found[:1], *(_apart(piece, {BLOCK}) if before.lead else piece for before, piece in pairwise(found))]


def _apart(piece: Piece, bonds: Collection[int]) -> Piece:
    return replace(piece, bond=APART) if piece.bond in bonds else piece


def sentence_pieces(blocks: Sequence[Block]) -> list[Piece]:
    """As `pieces`, and each sentence of prose is a piece of its own."""
    return [part for piece in pieces(blocks) for part in ([piece] if piece.lead else _parted(piece, sentences(piece.text), SENTENCE))]


def _pieces(blocks: Sequence[Block], bodies: Mapping[BlockKind, Callable[[Block], list[Piece]]]) -> list[Piece]:
    out: list[Piece] = []
    for index, block in enumerate(blocks):
        body = bodies[block.kind](block)
        if index and (seam := _seam(blocks, index)) != _PARTED:
            body[0] = replace(body[0], joint=seam[0], bond=seam[1])
        out += body
    return out


def is_empty(block: Block) -> bool:
    """Whether a block has no visible text."""
    return not (visible(block.text) or any(visible(cell) for row in block.rows for cell in row))


def split(piece: Piece) -> list[Piece]:
    """Split a piece that is too long for a chunk into lines, a single line into sentences, a single sentence into halves.

    A single character stays whole.
    """
    if "\n" in piece.text:
        first, *rest = piece.text.split("\n")
        return _parted(piece, [Part("", first), *(Part("\n", line) for line in rest)], ITEM)
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


def _paragraph(block: Block) -> list[Piece]:
    return [Piece(unwrapped(block.text), page=block.page)]


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


def _indented_code(block: Block) -> list[Piece]:
    """As `_code`, with bonds by indentation.

    A line that only closes or continues the one above (a bracket, `else`) belongs to it, and the first line after a decorator or a comment
    to that.
    """
    out: list[Piece] = []
    for piece in _code(block):
        before = out[-1].text if out else ""
        deep = _depth(before if _CONTINUES.match(piece.text) else piece.text)
        close = _ANNOUNCES.match(before) and piece.joint == "\n" and _depth(piece.text) == _depth(before)
        out.append(replace(piece, bond=-_DEEPEST if close else piece.bond - 2 * deep) if out else piece)
    return out


def _depth(line: str) -> int:
    """Columns of indentation, a tab as four, at most `_DEEPEST`."""
    return min(_DEEPEST, len(line.expandtabs(4)) - len(line.expandtabs(4).lstrip()))


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
    "paragraph": _paragraph,
    "caption": _prose,
    "formula": _prose,
    "list_item": _list_item,
    "code": _code,
    "table": _table,
}
