"""The interface of a reranker. There is none by default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from retrieval.candidates import Candidate


class Reranker(Protocol):
    """Orders candidates by a closer look at the query and their texts.

    Guarantees: returns candidates that it was given, each at most once, best first, with their texts and citations unchanged; the scores
    may be its own. The same arguments give the same order.
    """

    def rerank(self, query: str, candidates: Sequence[Candidate]) -> list[Candidate]: ...
