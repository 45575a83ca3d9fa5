"""Generations: a chunker and an embedder together, so that vectors of two models never meet in one search."""

from __future__ import annotations

from typing import Any

from core.errors import HeadraceError
from core.records import EmbeddingModel
from core.sql import statements
from core.tenancy import Connection


def open_generation(connection: Connection, fingerprint: str, model: EmbeddingModel, dimension: int, epoch: int = 0) -> int:
    """The number of this tenant's generation of that fingerprint, made where there is none. Raises what `recognise` raises.

    `epoch`: of the surrogate key that its texts were redacted with; part of the fingerprint.
    """
    connection.execute(_sql("lock"))
    recognise(connection, model)
    values = _values(model) | {"fingerprint": fingerprint, "dimension": dimension, "epoch": epoch}
    return int(connection.execute(_sql("open"), values).fetchall()[0]["generation"])


def recognise(connection: Connection, model: EmbeddingModel) -> None:
    """`refuse_changed`; and this very model's generations get the name that it has now, those too that are older than names."""
    refuse_changed(connection, model)
    connection.execute(_sql("name"), _values(model))


def refuse_changed(connection: Connection, model: EmbeddingModel) -> None:
    """Raises HeadraceError (`model-changed`) where a generation in use was built under this name and revision by another model."""
    if connection.execute(_sql("changed"), _values(model)).fetchall()[0]["changed"]:
        named = model.name + (f" at revision {model.revision}" if model.revision else "")
        raise HeadraceError(
            f"the embedding model {named} is not the one that this tenant's index was built with: its files were changed",
            reason="model-changed",
            remedy="Put the old files back. Where the change is meant, give the new ones another embedding.revision: "
            "a new index is built beside the one in use.",
        )


def promote(connection: Connection, fingerprint: str) -> bool:
    """Make the generation of that fingerprint the active one where it is being built and complete, and clear the one before.

    In this transaction. True where it switched. Where nothing is being built it asks no more than that.
    """
    building = connection.execute(_sql("building"), {"fingerprint": fingerprint}).fetchall()
    if not building:
        return False
    generation = building[0]["generation"]
    connection.execute(_sql("lock"))
    if connection.execute(_sql("unfinished"), {"fingerprint": fingerprint}).fetchall()[0]["unfinished"]:
        return False
    retired = [row["generation"] for row in connection.execute(_sql("retire"), {"generation": generation})]
    if not retired:
        return False
    connection.execute(_sql("activate"), {"generation": generation})
    _clear(connection, retired)
    return True


def abandon(connection: Connection, epoch: int) -> None:
    """Give up what is being built with an earlier surrogate key than that of this epoch, and clear it."""
    connection.execute(_sql("lock"))
    _clear(connection, [row["generation"] for row in connection.execute(_sql("abandon"), {"epoch": epoch})])


def active_epoch(connection: Connection) -> int | None:
    """The epoch of the surrogate key that what is searched was redacted with; None where nothing is searched yet."""
    rows = connection.execute(_sql("epoch")).fetchall()
    return rows[0]["surrogate_epoch"] if rows else None


def holds_older(connection: Connection, epoch: int) -> bool:
    """Whether any generation holds texts that were redacted with an earlier surrogate key than that of this epoch."""
    return bool(connection.execute(_sql("older"), {"epoch": epoch}).fetchall()[0]["older"])


def _clear(connection: Connection, generations: list[int]) -> None:
    for clear in ("clear_sources", "clear_chunks", "clear_indexed"):
        connection.execute(_sql(clear), {"generations": generations})


def learn(connection: Connection) -> None:
    """Have Postgres look at those of the tenant's tables that have grown and that it knows nothing of; otherwise it costs one question."""
    connection.execute(_sql("learn"))


def _values(model: EmbeddingModel) -> dict[str, Any]:
    return {"model": model.identity, "name": model.name, "revision": model.revision}


def _sql(name: str) -> Any:
    return statements("index", "sql/generations.sql")[name]
