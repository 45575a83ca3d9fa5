"""`semantic`: sections are cut where neighbouring sentences differ most by their embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chunkers.bonds import SizedPiece
from chunkers.meter import TokenMeter
from chunkers.packing import packed
from chunkers.pieces import ATTACHED, sentence_pieces
from core.records import Block, Chunk

Encode = Callable[[Sequence[str]], npt.NDArray[np.float32]]
"""Texts → (n, dimension) float32, unit length."""

REACH = 4
"""Sentences on either side of a boundary whose mean vectors are compared."""


def semantic(blocks: Sequence[Block], meter: TokenMeter, encode: Encode) -> list[Chunk]:
    """Sentences of one section share a chunk, the most similar neighbours first, while they fit into three quarters of it.

    Every sentence is embedded once more than its chunk. Guarantees as `structure` does.
    """
    return packed(blocks, meter, sentence_pieces, lambda parts: _ranks(parts, encode))


def _ranks(sections: Sequence[Sequence[SizedPiece]], encode: Encode) -> list[list[Any]]:
    """For each section, the rank of the boundary before each piece: what is attached first, then by the distance of what it parts."""
    texts = [part.piece.text for parts in sections for part in parts]
    vectors = encode(texts) if texts else np.zeros((0, 1), np.float32)
    ranks, start = [], 0
    for parts in sections:
        own = vectors[start : start + len(parts)]
        ranks.append([(part.piece.bond != ATTACHED, _distance(own, at), at) for at, part in enumerate(parts)])
        start += len(parts)
    return ranks


def _distance(vectors: npt.NDArray[np.float32], at: int) -> float:
    """The cosine distance of the sentences before and after a boundary, rounded: backends differ in the last digits."""
    if not at:
        return 0.0
    before, after = vectors[max(0, at - REACH) : at].mean(axis=0), vectors[at : at + REACH].mean(axis=0)
    return round(1 - float(before @ after / (np.linalg.norm(before) * np.linalg.norm(after) + 1e-9)), 3)
