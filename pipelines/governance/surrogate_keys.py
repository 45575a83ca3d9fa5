"""Rotation of a tenant's surrogate key: everything is redacted again into a new generation of the index, which is then promoted; then the
former key and everything made with it are deleted.

`rotate` is one transaction: it stores the new key, and makes every record from redaction on stale. The ledger does the rest, as after any
change: redaction and index have another fingerprint (`registry.step`), so the new surrogates go to a generation of their own. Commits of
workers that still use the former key are refused (`core.ledger.ledger.lock_current`). Sealed values, ids and digests do not depend on the
key. Both keys are kept until `finish` finds nothing made with the former one: to erase by, and to query what is still searched.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core import artifacts
from core.errors import HeadraceError, Unavailable
from core.keys import TenantKeys
from core.ledger.stage import Session
from core.records import encode
from core.sql import statements
from core.tenancy import Connection
from pipelines.governance import audit
from pipelines.governance.installation_keys import master_key_changed
from pipelines.governance.legal_hold import refuse_held
from pipelines.resources import Resources
from pipelines.stages import registry
from pipelines.stages.index_tasks import promote
from pipelines.stages.inputs import Versioned, next_versions
from pipelines.tasks import Task

STAGES = list(registry.DEPENDENT_ON_KEY)

UNUSED_VECTOR_AGE_S = 0.0
"""At the end of a rotation, vectors that no passage uses are deleted at any age."""


@dataclass(frozen=True)
class Rotated:
    """A rotation that has begun: the new key's `epoch`, and how many `documents` are redacted again.

    `without_original`: of how many neither the content nor the parsed document is kept. Those that came by reference are fetched again;
    the others become dead letters, `content-expired`, and leave the index with the promotion.
    """

    tenant: str
    epoch: int
    documents: int
    without_original: int


def rotate(resources: Resources, tenant: str) -> Rotated:
    """Give the tenant a new surrogate key.

    Raises HeadraceError `rotation-unfinished` if the last rotation has not ended; `legal-hold`, as documents that cannot be redacted again
    leave the index; `master-key-changed` if that happens meanwhile. Landing and every stage of this tenant wait for the commit: 12 s with
    100,000 documents, on two shared cores.
    """
    from privacy import new_surrogate_key

    refuse_held(resources, tenant)
    # first: a session opened after a change of the master key is refused, and one opened before it finds another wrapped key
    data_key = resources.database.get(tenant).wrapped_key
    session = resources.session(tenant)
    before = session.keys.epoch
    wrapped = new_surrogate_key(resources.master_key, tenant)
    with audit.recorded(resources, "surrogates-rotate", tenant, epoch=before + 1) as act:
        found = _store(session, wrapped, data_key)
        act.details.update(found)
    return Rotated(tenant, before + 1, **found)


def _store(session: Session, wrapped: bytes, data_key: bytes) -> dict[str, int]:
    """Put the new key, `wrapped`, in force, if the tenant's `data_key` is still wrapped under the same master key."""
    from index import generations

    with session.transaction() as connection:
        connection.execute(_SQL["lock"])
        if not _one(connection, "rotate", epoch=session.keys.epoch, wrapped=wrapped, data_key=data_key)["rotated"]:
            raise _refusal(session, data_key)
        found = _one(connection, "documents")
        connection.execute(_SQL["invalidate"], {"stages": STAGES})
        generations.abandon(connection, session.keys.epoch + 1)
        connection.execute(_SQL["drop_canaries"])
    return found


def _refusal(session: Session, data_key: bytes) -> HeadraceError:
    if session.database.get(session.tenant).wrapped_key != data_key:
        return master_key_changed()
    return HeadraceError(
        f"tenant {session.tenant!r} is still being redacted under its newest key",
        reason="rotation-unfinished",
        remedy=f"`headrace ingest --tenant {session.tenant}`, or a stream, finishes it; replay, publish again or erase what failed.",
    )


def searched(session: Session) -> TenantKeys:
    """The keys to redact a query with: those that the active generation was redacted with."""
    from index import generations

    former = session.keys.former
    if former is None:
        return session.keys
    with session.transaction() as connection:
        return former if generations.active_epoch(connection) == former.epoch else session.keys


def remaining(resources: Resources, tenant: str) -> int | None:
    """How many documents a rotation has still to redact; None if no rotation is under way."""
    rotated_at = resources.database.get(tenant).surrogates.rotated_at
    if rotated_at is None:
        return None
    with resources.database.tenant(tenant) as connection:
        return _remaining(connection, rotated_at)


def finish(resources: Resources, session: Session) -> bool:
    """End a rotation if nothing is left to redact again: withdraw what failed documents have from before, and forget the former key.

    Returns whether it ended. It does not while documents are in progress, while the former generation is active, or while Neo4j is
    unavailable. Safe to repeat, and safe beside others: the next call finishes one that was cut off.
    """
    from index import generations

    rotated_at = resources.database.get(session.tenant).surrogates.rotated_at
    if rotated_at is None or session.keys.former is None:
        return False
    with session.transaction() as connection:
        if _remaining(connection, rotated_at, most=1):
            return False
    # the process that indexed the last document may have died before the promotion
    promote(resources, session)
    with session.transaction() as connection:
        if generations.holds_older(connection, session.keys.epoch):
            return False
        withdrawn = _withdraw(connection, session, rotated_at)
    with suppress(Unavailable):
        return _forgotten(resources, session, withdrawn)
    return False


def _remaining(connection: Connection, rotated_at: datetime, most: int | None = None) -> int:
    return int(_one(connection, "remaining", stages=STAGES, rotated_at=rotated_at, most=most)["documents"])


def _forgotten(resources: Resources, session: Session, withdrawn: Mapping[str, int]) -> bool:
    """Whether this call forgot the former key. Raises Unavailable if Neo4j does not answer: then the key is kept."""
    from index import swap

    resources.models.projection.remove(session.tenant, list(withdrawn.items()))
    with session.transaction() as connection:
        vectors = swap.sweep(connection, UNUSED_VECTOR_AGE_S)
        forgotten = bool(_one(connection, "forget", epoch=session.keys.epoch)["forgotten"])
        if forgotten:
            # before the commit: if the process dies between the two, the log has one entry too many rather than one too few
            details = {"epoch": session.keys.epoch, "withdrawn": len(withdrawn), "vectors": vectors}
            audit.note(resources, "surrogates-forget", session.tenant, "done", details)
    return forgotten


def _withdraw(connection: Connection, session: Session, rotated_at: datetime) -> dict[str, int]:
    """Delete what failed documents have from before. Returns, by document, the version up to which Neo4j refuses writes of it."""
    documents = [row["document"] for row in connection.execute(_SQL["failed"])]
    values = {"documents": documents, "rotated_at": rotated_at}
    connection.execute(_SQL["drop_made_before"], values)
    found = [row["document"] for row in connection.execute(_SQL["projected_before"], values)]
    versions = next_versions(connection, found)
    artifacts.put(connection, session.keys, "graph", {d: encode(Versioned(version)) for d, version in versions.items()})
    connection.execute(_SQL["invalidate_withdrawn"], values | {"stages": STAGES, "withdrawn": found})
    return versions


def _one(connection: Connection, name: str, **values: Any) -> dict[str, Any]:
    return connection.execute(_SQL[name], values).fetchall()[0]


def _is_rotating(connection: Connection, resources: Resources, session: Session) -> bool:  # noqa: ARG001
    return session.keys.former is not None


def _finish(resources: Resources, session: Session) -> Mapping[str, int]:
    return {"ended": int(finish(resources, session))}


TASKS = (Task("end-of-rotation", "project", _is_rotating, _finish),)

_SQL = statements("pipelines.governance", "sql/surrogate_keys.sql")
