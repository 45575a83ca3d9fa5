"""Pieces with their costs, none longer than its section has room for. A document is measured in one batch, then once for each cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from chunkers.bonds import Sized
from chunkers.outline import Section
from chunkers.pieces import Piece, cut, pieces
from chunkers.ruler import Ruler

_LEAD_SHARE = 3
"""A table's header is repeated where it takes at most this part of a chunk."""


@dataclass(slots=True)
class _Part:
    """A piece on its way to its size: `room` is what its section and its lead leave, `size` None until it is measured."""

    section: int
    piece: Piece
    room: int
    lead_size: int
    size: int | None = None


def sized(sections: Sequence[Section], ruler: Ruler) -> list[list[Sized]]:
    """For each section its pieces in reading order, cut where one alone is too long, with their costs."""
    out: list[list[Sized]] = [[] for _ in sections]
    for part in _measured(list(_parts(sections, ruler)), ruler):
        size = (part.size or 0) + ruler.joint(part.piece.joint)
        out[part.section].append(Sized(part.piece, size, part.lead_size))
    return out


def _parts(sections: Sequence[Section], ruler: Ruler) -> Iterator[_Part]:
    found = [(at, piece) for at, section in enumerate(sections) for piece in pieces(section.blocks)]
    leads = sorted({piece.lead for _, piece in found if piece.lead})
    costs = dict(zip(leads, ruler.costs([f"{lead}\n" for lead in leads]), strict=True))
    for at, piece in found:
        yield _led(at, piece, sections[at].budget, costs.get(piece.lead, 0))


def _led(at: int, piece: Piece, budget: int, lead_size: int) -> _Part:
    if lead_size > budget // _LEAD_SHARE:
        return _Part(at, replace(piece, lead=""), budget, 0)
    return _Part(at, piece, budget - lead_size, lead_size)


def _measured(parts: list[_Part], ruler: Ruler) -> list[_Part]:
    while new := [at for at, part in enumerate(parts) if part.size is None]:
        for at, cost in zip(new, ruler.costs([parts[at].piece.text for at in new]), strict=True):
            parts[at].size = cost
        parts = [within for part in parts for within in _within(part)]
    return parts


def _within(part: _Part) -> list[_Part]:
    """The part where it fits or cannot be cut, else its cuts, to be measured."""
    if part.size is None or part.size <= part.room:
        return [part]
    smaller = cut(part.piece)
    if len(smaller) == 1 and smaller[0].text == part.piece.text:
        return [part]
    return [replace(part, piece=piece, size=None) for piece in smaller]
