"""Diversity: maximal marginal relevance, so that passages that say what a better one says come later.

Carbonell and Goldstein, The use of MMR, diversity-based reranking for reordering documents and producing summaries, 1998: the next passage
is the one with the greatest (1 − d) × relevance − d × similarity, with the greatest cosine to a passage before it. Relevance is the score
among those of the best passages, from 0 for the last to 1 for the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from core.sql import statements
from core.tenancy import Connection
from retrieval.citations import Passage

LOOK = 50
"""Of how many passages the answer is chosen, at least."""


def vectors(connection: Connection, generation: int, passages: Sequence[Passage]) -> dict[str, npt.NDArray[np.float32]]:
    """Chunk → its unit vector."""
    rows = connection.execute(_SQL["vectors"], {"generation": generation, "chunks": [one.chunk for one in passages]})
    return {row["chunk"]: np.array(row["vector"], dtype=np.float32) for row in rows}


def diverse(
    passages: Sequence[Passage], relevance: Sequence[float], found: Mapping[str, npt.NDArray[np.float32]], diversity: float
) -> list[Passage]:
    """The passages, each after those whose place it does not dispute. `relevance`: of each, on any scale; `found`: their unit vectors."""
    if len(passages) < 2:
        return list(passages)
    low, high = min(relevance), max(relevance)
    worth = (np.array(relevance) - low) / (high - low) if high > low else np.ones(len(passages))
    similar = np.stack([found[one.chunk] for one in passages])
    similar = np.clip(similar @ similar.T, 0, 1)
    left, chosen = list(range(len(passages))), list[int]()
    nearest = np.zeros(len(passages))
    while left:
        best = max(left, key=lambda at: ((1 - diversity) * worth[at] - diversity * nearest[at], -at))
        left.remove(best)
        chosen.append(best)
        nearest = np.maximum(nearest, similar[best])
    return [passages[at] for at in chosen]


_SQL = statements("retrieval", "sql/diversity.sql")
