"""Principals: who may read a document, as event sources and readers name them (`user:jo`, `group:finance`)."""

from __future__ import annotations

from core.errors import HeadraceError
from core.texts import is_unicode

EVERYONE = "*"
"""The principal that every caller of a tenant has. In a document's access list: everyone in the tenant may read it."""


Principals = list[str] | tuple[str, ...] | set[str] | frozenset[str]
"""Types accepted for a collection of principals. Not `Collection[str]`: a `str` is one, of its characters."""


def principals(given: object) -> list[str]:
    """The principals of a list, a tuple or a set, each as it is. Raises HeadraceError `bad-principals` for anything else.

    A text is refused because it would be read as its characters, a mapping because it would be read as its keys. So is a principal that no
    event can carry: one with a NUL or a lone surrogate.
    """
    if not isinstance(given, list | tuple | set | frozenset):
        raise _refused(f"principals must be a list, a tuple or a set, was: {type(given).__name__}")
    for principal in given:
        if not isinstance(principal, str):
            raise _refused(f"a principal must be text, was: {type(principal).__name__}")
        if "\0" in principal or not is_unicode(principal):
            raise _refused("a principal contains a NUL or a lone surrogate")
    return list(given)


def _refused(detail: str) -> HeadraceError:
    return HeadraceError(detail, reason="bad-principals", remedy='Give a list of texts, such as ["group:finance", "user:jo"].')
