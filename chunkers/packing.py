"""How full chunks are: a share of the budget by default, and up to the bound where a document would have too many chunks for its text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from chunkers.allowance import most_chunks
from chunkers.bonds import Limit, SizedPiece, pack
from chunkers.drafts import Draft, chunks, drafted
from chunkers.joining import Joined, joined
from chunkers.meter import TokenMeter
from chunkers.outline import outline
from chunkers.pieces import APART, ATTACHED, Cut
from chunkers.sizing import sized
from core.records import Block, Chunk

HEADER_SHARE = 0.25
"""Of a group of rows, at most this share is the repeated header."""


@dataclass(frozen=True)
class Packing:
    """Shares of a section's budget: its pieces share a chunk up to `joined`, a table's rows up to `rows`; sections of at most `short` are
    joined to their neighbours up to `together`."""

    joined: float
    rows: float
    short: float
    together: float

    def limit(self, budget: int) -> Limit:
        """How much a section with this budget joins."""
        joined = int(self.joined * budget)

        def most(part: SizedPiece) -> int:
            if part.piece.bond == APART:
                return 0
            if part.piece.bond == ATTACHED:
                return budget
            return min(joined, max(int(self.rows * budget), int(part.lead_size / HEADER_SHARE))) if part.piece.lead else joined

        return most


PACKINGS = (Packing(0.75, 0.25, 0.1, 0.25), Packing(0.75, 0.5, 0.5, 0.5), Packing(1, 1, 1, 1))
"""The first with which a document has no more chunks than its text is allowed (`chunkers.allowance`) is used; else the last.

A chunk that is filled to the bound mixes more subjects: at 256 tokens, `joined` 1 has a lower intersection over union (.053, against .068)
and no better recall (`benchmarks.chunking`). Each row of a table is a fact of its own, so that a question about one is nearer to a few rows
than to many. Joining longer sections raises the recall by .002 and lowers the intersection over union by .001.
"""

Ranks = Callable[[Sequence[Sequence[SizedPiece]]], Sequence[Sequence[Any] | None]]
"""Sections' pieces → for each section, the ranks of its boundaries, or None where their content decides."""


def packed(blocks: Sequence[Block], meter: TokenMeter, cut: Cut, ranks: Ranks = lambda parts: [None] * len(parts)) -> list[Chunk]:
    """The chunks of a document whose sections are cut into pieces by `cut`."""
    sections = outline(blocks, meter)
    parts = sized(sections, meter, cut)
    most = most_chunks(blocks, meter.max_tokens)
    found: list[Chunk] = []
    for packing in PACKINGS:
        of_some = joined(sections, parts, meter, packing.short, packing.together)
        found = chunks(_drafts(of_some, packing, ranks([own for _, own in of_some])), meter)
        if len(found) <= most:
            break
    return found


def _drafts(sections: Sequence[Joined], packing: Packing, ranks: Sequence[Sequence[Any] | None]) -> Iterator[Draft]:
    for (section, own), of_one in zip(sections, ranks, strict=True):
        yield from (drafted(section.path, group) for group in pack(own, packing.limit(section.budget), of_one))
