"""Access lists: each stored once, with a number that what is searched carries.

A document's list (`indexed.access`) decides who may read it. A chunk's is for filtering: the list that all its sources had at the last swap
of one of them, or `MIXED`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from psycopg.types.json import Jsonb

from core.sql import statements
from core.swap_lock import lock_swaps
from core.tenancy import Connection

MIXED = 0
"""The list of a chunk whose sources have more than one."""


def numbers(connection: Connection, lists: Sequence[Collection[str]]) -> list[int]:
    """The number of each list of principals, in their order. A list with the same principals is stored once.

    The caller holds the tenant's swap lock.
    """
    return [row["number"] for row in connection.execute(_SQL["number"], {"lists": [Jsonb(list(principals)) for principals in lists]})]


def of_documents(connection: Connection, documents: Sequence[str]) -> set[int]:
    """The numbers of these documents' lists, in any generation."""
    return {row["access"] for row in connection.execute(_SQL["of_documents"], {"documents": list(documents)})}


def refresh(connection: Connection, text_hashes: Sequence[str]) -> set[int]:
    """Give these chunks the list that their sources have now. Returns the numbers of those that they had before."""
    return {row["before"] for row in connection.execute(_SQL["refresh"], {"text_hashes": list(text_hashes)})}


def drop_unused(connection: Connection, candidates: Collection[int] | None = None) -> None:
    """Delete those of the lists, or of all, that neither a document nor a chunk has. The caller holds the tenant's swap lock."""
    if candidates is None or candidates:
        numbers = None if candidates is None else sorted(candidates)
        connection.execute(_SQL["drop_unused"], {"numbers": numbers})


def narrow(connection: Connection, documents: Sequence[str]) -> None:
    """Let nobody read these documents whom their newest event does not list. Nobody gains access before the swap.

    The caller has just written the documents' rows, so that no swap of theirs is under way.
    """
    wider = connection.execute(_SQL["wider"], {"documents": list(documents)}).fetchall()
    if wider:
        # a swap deletes lists that nothing uses: one that is given to a document here must not go meanwhile
        lock_swaps(connection)
        keys = {"generations": [row["generation"] for row in wider], "documents": [row["document"] for row in wider]}
        connection.execute(_SQL["narrow"], {**keys, "numbers": numbers(connection, [row["principals"] for row in wider])})
        drop_unused(connection, {row["access"] for row in wider})


_SQL = statements("core", "sql/access_lists.sql")
