"""What a caller asks for."""

from __future__ import annotations

from typing import Literal

import msgspec

from core.errors import HeadraceError
from core.principals import EVERYONE, Principals, principals
from core.texts import is_unicode

Mode = Literal["vector", "lexical", "hybrid"]

AVAILABLE: tuple[Mode, ...] = ("vector", "lexical")

MOST_PASSAGES = 1000
"""The greatest `top` of a search."""


class SearchRequest(msgspec.Struct, frozen=True):
    """One search.

    `query` should be redacted as the tenant's documents were (`privacy.redact_text`), so that a hidden value finds itself. `principals` are
    the caller's, who vouches for them. `mode`: the nearest in meaning (`vector`), or what has the query's words (`lexical`). `top` is the
    number of passages, at most: 1 to `MOST_PASSAGES`. `depth`: the candidates that a generator returns, if more than `top`: some of them
    become one passage. Raises HeadraceError: `bad-query` for a question without text and for a mode that is
    not in `AVAILABLE`, `bad-principals`, `bad-top`.
    """

    query: str
    principals: Principals = ()
    mode: Mode = "vector"
    top: int = 5
    depth: int = 0

    def __post_init__(self) -> None:
        if self.mode not in AVAILABLE:
            remedy = f"Available: {', '.join(AVAILABLE)}."
            raise HeadraceError(f"there is no search mode {self.mode!r}", reason="bad-query", remedy=remedy)
        _check_query(self.query)
        principals(self.principals)
        _check_top(self.top)

    @property
    def limit(self) -> int:
        """The candidates of a generator, at most."""
        return max(self.top, self.depth)

    @property
    def readers(self) -> list[str]:
        """The principals with `EVERYONE`, sorted."""
        return sorted({*self.principals, EVERYONE})


def _check_query(query: object) -> None:
    if not isinstance(query, str):
        raise HeadraceError(f"a question must be text, was: {type(query).__name__}", reason="bad-query", remedy="Ask for something.")
    if not query.strip():
        raise HeadraceError("the question is empty", reason="bad-query", remedy="Ask for something.")
    if not is_unicode(query):
        raise HeadraceError("the question contains a lone surrogate", reason="bad-query", remedy="Ask in Unicode text.")


def _check_top(top: object) -> None:
    if not isinstance(top, int) or isinstance(top, bool):
        raise _bad_top(f"of type {type(top).__name__}")
    if not 1 <= top <= MOST_PASSAGES:
        raise _bad_top("below 1" if top < 1 else f"above {MOST_PASSAGES}")


def _bad_top(was: str) -> HeadraceError:
    return HeadraceError(f"top must be a whole number, was: {was}", reason="bad-top", remedy=f"Ask for 1 to {MOST_PASSAGES} passages.")
