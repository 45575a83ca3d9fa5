"""Reranking: the best passages in the order of a closer look at the question and each text, by a model that is asked for it.

There is none by default. One that fails or takes too long changes nothing: the answer says so and keeps its order.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Literal, Protocol

from msgspec.structs import replace

from core.errors import HeadraceError
from core.records import embedded_text
from retrieval.citations import Passage
from retrieval.request import SearchRequest

_LOG = logging.getLogger("headrace.retrieval")

Reranked = Literal["no", "yes", "timed-out", "failed"]
TIMED_OUT = "reranker-timed-out"
"""The reason code of a reranker that took too long."""


class Reranker(Protocol):
    """Scores texts by a closer look at the query and each of them.

    Guarantees: one score for each text, in their order, higher is better; the same arguments give the same scores. Answers in time
    or raises HeadraceError, with the reason `TIMED_OUT` if time was the reason.
    """

    @property
    def candidates(self) -> int:
        """How many texts it is given, at most."""
        ...

    def scores(self, query: str, texts: Sequence[str]) -> Sequence[float]: ...


def rerank(reranker: Reranker | None, request: SearchRequest, passages: list[Passage]) -> tuple[list[Passage], Reranked]:
    """The passages in the reranker's order, those beyond its number after them, and what became of it.

    They keep their scores, and have the reranker's beside them.
    """
    if reranker is None or not request.rerank or not passages:
        return passages, "no"
    looked_at, rest = passages[: reranker.candidates], passages[reranker.candidates :]
    try:
        scores = reranker.scores(request.query, [embedded_text(one.heading_path, one.text) for one in looked_at])
    except HeadraceError as error:
        _LOG.warning("not reranked: %s", error.reason)
        return passages, "timed-out" if error.reason == TIMED_OUT else "failed"
    if len(scores) != len(looked_at) or not all(map(math.isfinite, scores)):
        return passages, "failed"
    scored = [replace(one, scores=replace(one.scores, reranked=float(own))) for one, own in zip(looked_at, scores, strict=True)]
    return [*sorted(scored, key=lambda one: (-(one.scores.reranked or 0.0), *one.place)), *rest], "yes"


def relevance(passages: Sequence[Passage]) -> list[float]:
    """What the passages are sorted by, on one scale: the reranker's scores, if all have one."""
    if all(one.scores.reranked is not None for one in passages):
        return [one.scores.reranked or 0.0 for one in passages]
    return [one.score for one in passages]
