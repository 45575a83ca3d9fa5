"""What a reader may read, counted: a search of few passages runs another statement than a search of nearly all.

A chunk's list only filters. Which sources may be cited is decided by each document's own list, in the statement that cites: a chunk whose
sources have several lists, or one that a landing has narrowed since, passes the filter and has no citation.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.sql import statements
from core.tenancy import Connection

FEW_LISTS = 1_000
FEW_PASSAGES = 10_000
"""Comparing this many vectors takes a few milliseconds: less than an index that has to pass over all others."""


def few_lists(connection: Connection, readers: Sequence[str]) -> list[int] | None:
    """The numbers of the access lists that let these principals in, if they and their passages in the active generation are few.

    None if they are many. Reads at most `FEW_LISTS` lists and `FEW_PASSAGES` index entries.
    """
    lists = [row["number"] for row in connection.execute(_SQL["lists"], {"readers": list(readers), "most": FEW_LISTS + 1})]
    if len(lists) > FEW_LISTS:
        return None
    [row] = connection.execute(_SQL["count"], {"lists": lists, "most": FEW_PASSAGES + 1})
    return lists if row["passages"] <= FEW_PASSAGES else None


_SQL = statements("retrieval", "sql/access.sql")
