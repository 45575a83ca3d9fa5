"""Generations: a chunker and an embedder together, so that vectors of two models never meet in one search."""

from __future__ import annotations

from typing import Any

from core import access_lists
from core.errors import HeadraceError
from core.records import EmbeddingModel
from core.sql import statements
from core.tenancy import Connection
from index import lexical, near_duplicates


def open_generation(connection: Connection, fingerprint: str, model: EmbeddingModel, dimension: int, epoch: int = 0) -> int:
    """The number of the generation with this fingerprint, created if there is none. Raises as `recognise` does.

    `epoch`: of the surrogate key that its texts were redacted with; part of the fingerprint.
    """
    connection.execute(_SQL["lock"])
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


def promote(connection: Connection, fingerprint: str) -> bool:
    """Activate the generation with this fingerprint if it is being built and complete, and clear the one before, in this transaction.

    Returns whether it switched. Runs one query if the generation is not being built.
    """
    building = connection.execute(_SQL["building"], {"fingerprint": fingerprint}).fetchall()
    if not building:
        return False
    generation = building[0]["generation"]
    connection.execute(_SQL["lock"])
    if connection.execute(_SQL["unfinished"], {"fingerprint": fingerprint}).fetchall()[0]["unfinished"]:
        return False
    retired = [row["generation"] for row in connection.execute(_SQL["retire"], {"generation": generation})]
    if not retired:
        return False
    connection.execute(_SQL["activate"], {"generation": generation})
    _clear(connection, retired)
    return True


def abandon(connection: Connection, epoch: int) -> None:
    """Retire and clear generations that are being built with a surrogate key from before this epoch."""
    connection.execute(_SQL["lock"])
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
