"""The interface of a reranker. There is none by default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Reranker(Protocol):
    """Scores passages by a closer look at the query and their texts.

    Guarantees: one score for each text, in their order, higher is better; the same arguments give the same scores. Answers in time
    or raises `HeadraceError`: an answer that comes too late is of no use.
    """

    @property
    def candidates(self) -> int:
        """How many passages it looks at, at most."""
        ...

    def scores(self, query: str, texts: Sequence[str]) -> Sequence[float]: ...
