"""Pivots: which passage stands for a cluster. A passage belongs to the first pivot that it has an edge to; without one it is a pivot."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from core.sql import statements
from core.tenancy import Connection


def settle(connection: Connection, generation: int, changed: Collection[str]) -> int:
    """Decide anew about passages whose edges changed, and whoever that changes. Returns the number of passages that moved.

    An edge leads to a passage before, so that what is decided of a passage depends on passages before it alone, and the repetition ends.
    """
    waiting, moved, is_first = set(changed), set[str](), True
    while waiting:
        became = _decided(connection, generation, waiting)
        moved |= became.keys()
        # a passage that lost its last edge shows nothing of what it was
        turned = waiting if is_first else {passage for passage, has_turned in became.items() if has_turned}
        waiting, is_first = _after(connection, generation, turned), False
    return len(moved)


def _decided(connection: Connection, generation: int, passages: Collection[str]) -> Mapping[str, bool]:
    """Those of the passages that belong elsewhere now; whether they became a pivot, or are none any more."""
    rows = connection.execute(_SQL["edges"], {"generation": generation, "text_hashes": list(passages)})
    was: dict[str, str] = {}
    pivots: dict[str, str] = {}
    is_member: dict[str, bool] = {}
    for row in rows:  # in the order of passages and of their neighbours
        passage, neighbour = row["text_hash"], row["neighbour"]
        pivots.setdefault(passage, "")
        if row["pivot"]:
            was[passage] = neighbour
        if not pivots[passage] and not is_member.get(neighbour, row["is_member"]):
            pivots[passage] = neighbour
        is_member[passage] = bool(pivots[passage])
    # a passage whose last edge is gone is a pivot
    moved = {passage: pivot for passage, pivot in pivots.items() if pivot != was.get(passage, "")}
    if moved:
        values = {"generation": generation, "text_hashes": list(moved), "pivots": list(moved.values())}
        connection.execute(_SQL["assign"], values)
    return {passage: bool(pivot) != (passage in was) for passage, pivot in moved.items()}


def _after(connection: Connection, generation: int, passages: Collection[str]) -> set[str]:
    if not passages:
        return set()
    rows = connection.execute(_SQL["after"], {"generation": generation, "text_hashes": list(passages)})
    return {row["text_hash"] for row in rows}


_SQL = statements("index", "sql/near_duplicates.sql")
