"""`hierarchical`: small chunks are embedded and found, and the larger one around them answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count

from chunkers.bonds import pack
from chunkers.drafts import Draft, chunks, drafted
from chunkers.joining import joined
from chunkers.meter import TokenMeter
from chunkers.outline import outline
from chunkers.packing import PACKINGS
from chunkers.pieces import pieces
from chunkers.sizing import sized
from core.records import Block, Chunk

CHILDREN = 4
"""A child has this fraction of its section's budget."""


def hierarchical(blocks: Sequence[Block], meter: TokenMeter) -> list[Chunk]:
    """Chunks of a quarter of the size, by the rules of `structure`; each names its parent, which is what `structure` would join of them.

    Guarantees as `structure` does, of the children. A parent's text and path fit the limit, but for a table's repeated headers.
    """
    return chunks(_drafts(blocks, meter), meter)


def _drafts(blocks: Sequence[Block], meter: TokenMeter) -> Iterator[Draft]:
    sections, numbers = outline(blocks, meter), count()
    small = [replace(section, budget=max(1, section.budget // CHILDREN)) for section in sections]
    packing = PACKINGS[0]
    for section, own in joined(sections, sized(small, meter, pieces), meter, packing.short, packing.together):
        child = packing.limit(max(1, section.budget // CHILDREN))
        for parent in pack(own, packing.limit(section.budget)):
            number = next(numbers)
            yield from (drafted(section.path, group, number) for group in pack(parent, child))
