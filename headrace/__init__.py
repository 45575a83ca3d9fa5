"""Headrace's public interface, for other programs. Nothing in Headrace imports it.

`Publisher` and `Outcomes` are for source systems, `Index` for RAG applications; every error they raise is a `HeadraceError`.
Each name is imported when it is first used, so that importing this package is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.errors import ConfigurationError, ContractError, HeadraceError, TenantError, Unavailable
    from events.outcomes import Outcome, Outcomes
    from events.publish import Publisher
    from headrace.index import Index
    from retrieval.search import Answer, Citation, Filters, Passage

__all__ = [
    "Answer",
    "Citation",
    "ConfigurationError",
    "ContractError",
    "Filters",
    "HeadraceError",
    "Index",
    "Outcome",
    "Outcomes",
    "Passage",
    "Publisher",
    "TenantError",
    "Unavailable",
]

_HOMES = {
    "Outcome": "events.outcomes",
    "Outcomes": "events.outcomes",
    "Publisher": "events.publish",
    "Index": "headrace.index",
    "Passage": "retrieval.search",
    "Citation": "retrieval.search",
    "Answer": "retrieval.search",
    "Filters": "retrieval.search",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'headrace' has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "core.errors")), name)


def __dir__() -> list[str]:
    return __all__
