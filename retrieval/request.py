"""What a caller asks for."""

from __future__ import annotations

import math
from typing import Literal, get_args

import msgspec

from core.errors import HeadraceError
from core.principals import EVERYONE, Principals, principals
from core.texts import is_unicode
from retrieval.filters import Filters

Mode = Literal["hybrid", "vector", "lexical"]
Fusion = Literal["scores", "rrf"]
Expand = Literal["none", "neighbours", "section", "table"]

MODES: tuple[Mode, ...] = get_args(Mode)

MOST_PASSAGES = 1000
"""The greatest `top` of a search."""
LONGEST_QUERY = 10_000
"""In characters."""


class SearchRequest(msgspec.Struct, frozen=True):
    """One search.

    `query` should be redacted as the tenant's documents were (`privacy.redact_text`), so that a hidden value finds itself. `principals` are
    the caller's, who vouches for them. `mode`: the nearest in meaning (`vector`), what has the query's words (`lexical`), or both. `top` is
    the number of passages, at most: 1 to `MOST_PASSAGES`. `filters`: which documents it is about. `cursor`: of the answer before, to go on.

    `expand`: the text around each passage, from the same document. `rerank`: whether the reranker, if there is one, orders the best
    passages. `diversity`: 0 to 1, how much a passage that says what a better one says is passed over (maximal marginal relevance).

    `fusion` and `weight` of mode `hybrid`: the weighted sum of both scores, or reciprocal ranks; the weight of the cosine, 0 to 1, None for
    what suits the model and the passages' languages (`retrieval.fusion`). `least`: no passage with a lower score. `explain`: also what
    every score is made of, and which terms matched where.

    Raises HeadraceError: `bad-query`, `bad-principals`, `bad-top`, `bad-filter`, `bad-cursor`, `bad-option`.
    """

    query: str
    principals: Principals = ()
    mode: Mode = "hybrid"
    top: int = 5
    filters: Filters = Filters()
    cursor: str = ""
    expand: Expand = "none"
    rerank: bool = False
    diversity: float = 0.0
    fusion: Fusion = "scores"
    weight: float | None = None
    least: float | None = None
    explain: bool = False

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            remedy = f"Available: {', '.join(MODES)}."
            raise HeadraceError(f"there is no search mode {self.mode!r}", reason="bad-query", remedy=remedy)
        _check_query(self.query)
        principals(self.principals)
        _check_top(self.top)
        if not isinstance(self.filters, Filters):
            raise HeadraceError(f"filters must be Filters, was: {type(self.filters).__name__}", reason="bad-filter", remedy=_REMEDY)
        _check_options(self)
        _check_cursor(self)

    @property
    def readers(self) -> list[str]:
        """The principals with `EVERYONE`, sorted."""
        return sorted({*self.principals, EVERYONE})

    @property
    def by_meaning(self) -> bool:
        """Whether it takes the query's vector."""
        return self.mode != "lexical"

    @property
    def reorders(self) -> bool:
        """Whether the order is not that of the scores alone, so that no cursor can say where an answer ends."""
        return self.rerank or self.diversity > 0


def _check_query(query: object) -> None:
    if not isinstance(query, str):
        raise HeadraceError(f"a question must be text, was: {type(query).__name__}", reason="bad-query", remedy="Ask for something.")
    if not query.strip():
        raise HeadraceError("the question is empty", reason="bad-query", remedy="Ask for something.")
    if len(query) > LONGEST_QUERY:
        raise HeadraceError(f"the question is longer than {LONGEST_QUERY} characters", reason="bad-query", remedy="Ask a shorter one.")
    if not is_unicode(query):
        raise HeadraceError("the question contains a lone surrogate", reason="bad-query", remedy="Ask in Unicode text.")


def _check_top(top: object) -> None:
    if not isinstance(top, int) or isinstance(top, bool):
        raise _bad_top(f"of type {type(top).__name__}")
    if not 1 <= top <= MOST_PASSAGES:
        raise _bad_top("below 1" if top < 1 else f"above {MOST_PASSAGES}")


def _bad_top(was: str) -> HeadraceError:
    return HeadraceError(f"top must be a whole number, was: {was}", reason="bad-top", remedy=f"Ask for 1 to {MOST_PASSAGES} passages.")


def _check_options(request: SearchRequest) -> None:
    for name, kind in (("expand", Expand), ("fusion", Fusion)):
        if getattr(request, name) not in get_args(kind):
            raise _bad_option(f"{name} must be one of {', '.join(get_args(kind))}, was: {getattr(request, name)!r}"[:200])
    for name in ("rerank", "explain"):
        if not isinstance(getattr(request, name), bool):
            raise _bad_option(f"{name} must be true or false")
    for name in ("diversity", "weight"):
        if not _is_number(getattr(request, name), 0, 1) and (name, request.weight) != ("weight", None):
            raise _bad_option(f"{name} must be a number from 0 to 1")
    if request.least is not None and not _is_number(request.least, -math.inf, math.inf):
        raise _bad_option("least must be a number")


def _is_number(value: object, least: float, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and least <= value <= most


def _bad_option(detail: str) -> HeadraceError:
    return HeadraceError(detail, reason="bad-option", remedy=_REMEDY)


def _check_cursor(request: SearchRequest) -> None:
    if not isinstance(request.cursor, str):
        raise HeadraceError(f"a cursor must be text, was: {type(request.cursor).__name__}", reason="bad-cursor", remedy=_REMEDY)
    if request.cursor and request.reorders:
        raise HeadraceError("a reranked or diversified answer has no next page", reason="bad-cursor", remedy="Ask for a greater top.")


_REMEDY = "See docs/retrieval.md."
