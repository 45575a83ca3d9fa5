"""Generations: a chunker and an embedder together, so that vectors of two models never meet in one search."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from core import access_lists
from core.errors import HeadraceError
from core.records import EmbeddingModel, convert
from core.sql import statements
from core.swap_lock import lock_swaps
from core.tenancy import Connection
from index import lexical, near_duplicates


def open_generation(connection: Connection, fingerprint: str, model: EmbeddingModel, dimension: int, epoch: int = 0) -> int:
    """The number of the generation with this fingerprint, created if there is none. Raises as `recognise` does.

    `epoch`: of the surrogate key that its texts were redacted with; part of the fingerprint.
    """
    lock_swaps(connection)
    recognise(connection, model)
    values = _values(model) | {"fingerprint": fingerprint, "dimension": dimension, "epoch": epoch}
    return int(connection.execute(_SQL["open"], values).fetchall()[0]["generation"])


def recognise(connection: Connection, model: EmbeddingModel) -> None:
    """Record the model's present name and revision on its generations. Raises as `refuse_changed` does."""
    refuse_changed(connection, model)
    connection.execute(_SQL["name"], _values(model))


def refuse_changed(connection: Connection, model: EmbeddingModel) -> None:
    """Raise HeadraceError (`model-changed`) if another model built a generation in use under the same name and revision."""
    if connection.execute(_SQL["changed"], _values(model)).fetchall()[0]["changed"]:
        named = model.name + (f" at revision {model.revision}" if model.revision else "")
        raise HeadraceError(
            f"the embedding model {named} is not the one that this tenant's index was built with: its files have changed",
            reason="model-changed",
            remedy="Restore the old files. If the change is intended, give the new files another embedding.revision: "
            "a new index is built beside the one in use.",
        )


def promote(connection: Connection, fingerprint: str, is_wanted: Callable[[], bool] = lambda: True) -> bool:
    """Activate the generation with this fingerprint if it is complete and not active, and clear the one before, in this transaction.

    Returns whether it switched. Runs one query if the generation is active. `is_wanted` is asked while no other switch can take place.
    """
    building = connection.execute(_SQL["building"], {"fingerprint": fingerprint}).fetchall()
    if not building:
        return False
    generation = building[0]["generation"]
    lock_swaps(connection)
    if connection.execute(_SQL["unfinished"], {"fingerprint": fingerprint}).fetchall()[0]["unfinished"] or not is_wanted():
        return False
    retired = [row["generation"] for row in connection.execute(_SQL["retire"], {"generation": generation})]
    if not retired:
        return False
    connection.execute(_SQL["activate"], {"generation": generation})
    _clear(connection, retired)
    return True


class Generation(msgspec.Struct, frozen=True):
    """A generation as it stands. `indexed`: whether it has an HNSW index that is ready. `documents`: how many it lists."""

    generation: int
    fingerprint: str
    model: str
    dimension: int
    state: str
    indexed: bool | None
    documents: int


def active(connection: Connection) -> Generation | None:
    """The active generation; None if there is none."""
    return find(connection, None)


def find(connection: Connection, fingerprint: str | None) -> Generation | None:
    """The generation with this fingerprint, in whatever state; None if there is none."""
    rows = connection.execute(_SQL["find"], {"fingerprint": fingerprint}).fetchall()
    return convert(rows[0], Generation) if rows else None


def lock(connection: Connection) -> None:
    """Wait for landings, stages' commits and swaps of the tenant; they wait for the end of this transaction. Readers do not."""
    connection.execute(_SQL["lock_documents"])
    lock_swaps(connection)


def lacking(connection: Connection, fingerprint: str) -> int:
    """How many live documents of the active generation the one with this fingerprint lacks without a reason."""
    return int(connection.execute(_SQL["lacking"], {"fingerprint": fingerprint}).fetchall()[0]["documents"])


def refused(connection: Connection, fingerprint: str) -> dict[str, int]:
    """Reason → number of live documents that would leave the search with a switch to the generation with this fingerprint."""
    return {row["reason"]: row["documents"] for row in connection.execute(_SQL["refused"], {"fingerprint": fingerprint})}


def switch(connection: Connection, fingerprint: str, former: str) -> bool:
    """Activate the generation with this fingerprint, and let the active one, which has the fingerprint `former`, stand by.

    Returns False, and changes nothing, if another one is active or a live document would be lost. The caller has taken `lock`.
    """
    found, now = find(connection, fingerprint), active(connection)
    if found is None or found.state not in ("building", "standby") or now is None or now.fingerprint != former:
        return False
    if lacking(connection, fingerprint):
        return False
    connection.execute(_SQL["stand_by"])
    connection.execute(_SQL["activate_beside"], {"fingerprint": fingerprint})
    return True


def drop(connection: Connection, fingerprint: str) -> None:
    """Retire and clear the generation with this fingerprint if it is being built or stands by, with what only it used."""
    lock_swaps(connection)
    rows = connection.execute(_SQL["drop_beside"], {"fingerprint": fingerprint}).fetchall()
    if rows:
        _clear(connection, [row["generation"] for row in rows])
        connection.execute(_SQL["drop_vectors_of"], {"models": [row["model"] for row in rows]})


def abandon(connection: Connection, epoch: int) -> None:
    """Retire and clear generations that are being built, or stand by, with a surrogate key from before this epoch."""
    lock_swaps(connection)
    _clear(connection, [row["generation"] for row in connection.execute(_SQL["abandon"], {"epoch": epoch})])


def active_epoch(connection: Connection) -> int | None:
    """The epoch of the surrogate key that the active generation's texts were redacted with; None if there is no active generation."""
    rows = connection.execute(_SQL["epoch"]).fetchall()
    return rows[0]["surrogate_epoch"] if rows else None


def holds_older(connection: Connection, epoch: int) -> bool:
    """Whether any generation contains texts that were redacted with a surrogate key from before this epoch."""
    return bool(connection.execute(_SQL["older"], {"epoch": epoch}).fetchall()[0]["older"])


def is_building(connection: Connection) -> bool:
    """Whether a generation is being built beside the active one. Whether it is the configured one takes a model to know."""
    return bool(connection.execute(_SQL["is_building"]).fetchall()[0]["building"])


def lacks_statistics(connection: Connection) -> bool:
    """Whether one of the tenant's tables has four pages or more and was never analyzed."""
    return bool(connection.execute(_SQL["lacks_statistics"]).fetchall()[0]["found"])


def learn_statistics(connection: Connection) -> None:
    """ANALYZE grown tables that lack statistics."""
    connection.execute(_SQL["learn_statistics"])


def _clear(connection: Connection, generations: list[int]) -> None:
    for clear in ("clear_sources", "clear_chunks", "clear_indexed"):
        connection.execute(_SQL[clear], {"generations": generations})
    lexical.clear(connection, generations)
    near_duplicates.clear(connection, generations)
    access_lists.drop_unused(connection)


def _values(model: EmbeddingModel) -> dict[str, Any]:
    return {"model": model.identity, "name": model.name, "revision": model.revision}


_SQL = statements("index", "sql/generations.sql")
