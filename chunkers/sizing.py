"""Measuring pieces, and splitting those longer than their section's budget. A document is measured in one batch, then once per split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from chunkers.bonds import SizedPiece
from chunkers.meter import TokenMeter
from chunkers.outline import Section
from chunkers.pieces import Cut, Piece, split

_LEAD_SHARE = 3
"""A table's header is repeated if it takes at most one third of a chunk."""


@dataclass(slots=True)
class _Part:
    """A piece to be measured: `room` is the budget of its section without its lead; `size` is None before measuring."""

    section: int
    piece: Piece
    room: int
    lead_size: int
    size: int | None = None


def sized(sections: Sequence[Section], meter: TokenMeter, cut: Cut) -> list[list[SizedPiece]]:
    """Return each section's pieces with their costs, in reading order, split if too long. `cut` gives a section's pieces."""
    out: list[list[SizedPiece]] = [[] for _ in sections]
    for part in _measured(list(_parts(sections, meter, cut)), meter):
        size = (part.size or 0) + meter.joint(part.piece.joint)
        out[part.section].append(SizedPiece(part.piece, size, part.lead_size))
    return out


def _parts(sections: Sequence[Section], meter: TokenMeter, cut: Cut) -> Iterator[_Part]:
    found = [(at, piece) for at, section in enumerate(sections) for piece in cut(section.blocks)]
    leads = sorted({piece.lead for _, piece in found if piece.lead})
    costs = dict(zip(leads, meter.costs([f"{lead}\n" for lead in leads]), strict=True))
    for at, piece in found:
        yield _with_lead(at, piece, sections[at].budget, costs.get(piece.lead, 0))


def _with_lead(at: int, piece: Piece, budget: int, lead_size: int) -> _Part:
    if lead_size > budget // _LEAD_SHARE:
        return _Part(at, replace(piece, lead=""), budget, 0)
    return _Part(at, piece, budget - lead_size, lead_size)


def _measured(parts: list[_Part], meter: TokenMeter) -> list[_Part]:
    while new := [at for at, part in enumerate(parts) if part.size is None]:
        for at, cost in zip(new, meter.costs([parts[at].piece.text for at in new]), strict=True):
            parts[at].size = cost
        parts = [fitting for part in parts for fitting in _fitting(part)]
    return parts


def _fitting(part: _Part) -> list[_Part]:
    """Return the part if it fits or cannot be split, otherwise its parts, to be measured."""
    if part.size is None or part.size <= part.room:
        return [part]
    smaller = split(part.piece)
    if len(smaller) == 1 and smaller[0].text == part.piece.text:
        return [part]
    return [replace(part, piece=piece, size=None) for piece in smaller]
