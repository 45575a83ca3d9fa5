"""The strategies by name. Each is a plain function `(blocks, meter) -> chunks`; `semantic` takes the embedding model
besides, `recursive` and `fixed` an overlap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chunkers.hierarchical import hierarchical
from chunkers.meter import TokenMeter
from chunkers.plain import fixed, recursive
from chunkers.semantic import semantic
from chunkers.structure import code, structure, table
from core.records import Block, Chunk


@dataclass(frozen=True)
class Strategy:
    """`split`: (blocks, meter), and an `encode` function if it `embeds`. `version`: raise it whenever the same blocks give other chunks.

    `overlaps`: it takes an `overlap`. `small`: its chunks are meant to be small, so that a document may have
    `chunkers.allowance.MOST_CHUNKS` of them.
    """

    split: Callable[..., list[Chunk]]
    version: int
    embeds: bool = False
    small: bool = False
    overlaps: bool = False

    def __call__(self, blocks: Sequence[Block], meter: TokenMeter, encode: Any, overlap: int) -> list[Chunk]:
        return self.split(blocks, meter, *([encode] if self.embeds else []), *([overlap] if self.overlaps else []))


STRATEGIES: Mapping[str, Strategy] = {
    "structure": Strategy(structure, 3),
    "recursive": Strategy(recursive, 1, overlaps=True),
    "fixed": Strategy(fixed, 1, overlaps=True),
    "table": Strategy(table, 2, small=True),
    "code": Strategy(code, 2),
    "hierarchical": Strategy(hierarchical, 2, small=True),
    "semantic": Strategy(semantic, 2, embeds=True),
}
