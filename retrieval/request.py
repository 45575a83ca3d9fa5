"""What a caller asks for."""

from __future__ import annotations

from typing import Literal

import msgspec

from core.errors import HeadraceError
from core.principals import EVERYONE

Mode = Literal["vector", "lexical", "hybrid"]

AVAILABLE: tuple[Mode, ...] = ("vector",)


class SearchRequest(msgspec.Struct, frozen=True):
    """One search.

    `query` should be redacted as the tenant's documents were (`privacy.redact_text`), so that a hidden value finds itself. `principals` are
    the caller's, who vouches for them. `top` is the number of passages, at most. Raises HeadraceError (`bad-query`) for a mode that is
    not in `AVAILABLE`.
    """

    query: str
    principals: tuple[str, ...] = ()
    mode: Mode = "vector"
    top: int = 5

    def __post_init__(self) -> None:
        if self.mode not in AVAILABLE:
            remedy = f"Available: {', '.join(AVAILABLE)}."
            raise HeadraceError(f"there is no search mode {self.mode!r}", reason="bad-query", remedy=remedy)

    @property
    def readers(self) -> list[str]:
        """The principals with `EVERYONE`, sorted."""
        return sorted({*self.principals, EVERYONE})
