"""A tenant's surrogate key exchanged for a fresh one: everything is redacted anew beside what is searched, then switched, then the old
key and all that was made with it go.

`rotate` is one transaction: the new key, and every record from redaction on behind. The rest is the ledger's work, as after any change:
the redaction and the index have another fingerprint (`Way.stage`), so the new surrogates go to a generation of their own. Commits of
workers that still have the former key are refused (`core.ledger.ledger.hold`). What is sealed, ids and digests do not depend on the key.
Until `settle` finds nothing of the former key left, both are kept: to erase by, and to ask what is still searched.
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
from pipelines.maintenance import Task
from pipelines.resources import Resources
from pipelines.stages import registry
from pipelines.stages.index_tasks import promote
from pipelines.stages.inputs import Versioned, next_versions

STAGES = list(registry.DEPENDENT_ON_KEY)

AT_ONCE = 0.0
"""Seconds after which a vector that no passage holds goes, here."""


@dataclass(frozen=True)
class Rotated:
    """A rotation that has begun: the new key's `epoch`, how many `documents` are redacted anew, and of how many no original is kept here.

    These are fetched again where they came by reference; else they become dead letters, `content-expired`, and leave with the switch.
    """

    tenant: str
    epoch: int
    documents: int
    without_original: int


def rotate(resources: Resources, tenant: str) -> Rotated:
    """Give the tenant a fresh surrogate key. Raises HeadraceError `rotation-unfinished` where the last rotation has not come to its end.

    And `legal-hold`: what cannot be redacted anew leaves with the switch. `master-key-changed` where that happened meanwhile.

    Landing and every stage of this tenant wait until it is committed: 12 s with 100,000 documents, on two cores that others use too.
    """
    from privacy import new_surrogate_key

    refuse_held(resources, tenant)
    # first: a session that opens after a change of the master key is refused, and one that opened before it finds another wrapped key
    data_key = resources.database.get(tenant).wrapped_key
    session = resources.session(tenant)
    before = session.keys.epoch
    wrapped = new_surrogate_key(resources.master_key, tenant)
    with audit.recorded(resources, "surrogates-rotate", tenant, epoch=before + 1) as act:
        found = _exchanged(session, wrapped, data_key)
        act.said.update(found)
    return Rotated(tenant, before + 1, **found)


def _exchanged(session: Session, wrapped: bytes, data_key: bytes) -> dict[str, int]:
    """`wrapped`, the new key, takes effect where the tenant's `data_key` is still wrapped under the same master key as it."""
    from index import generations

    with session.transaction() as connection:
        connection.execute(_SQL["lock"])
        if not _one(connection, "rotate", epoch=session.keys.epoch, wrapped=wrapped, data_key=data_key)["rotated"]:
            raise _refused(session, data_key)
        found = _one(connection, "documents")
        connection.execute(_SQL["invalidate"], {"stages": STAGES})
        generations.abandon(connection, session.keys.epoch + 1)
    return found


def _refused(session: Session, data_key: bytes) -> HeadraceError:
    if session.database.get(session.tenant).wrapped_key != data_key:
        return master_key_changed()
    return HeadraceError(
        f"tenant {session.tenant!r} is still being redacted under its newest key",
        reason="rotation-unfinished",
        remedy=f"`headrace ingest --tenant {session.tenant}`, or a stream, ends that; replay, publish again or erase what failed.",
    )


def searched(session: Session) -> TenantKeys:
    """The keys that questions are redacted with: those of what is searched by now."""
    from index import generations

    former = session.keys.former
    if former is None:
        return session.keys
    with session.transaction() as connection:
        return former if generations.active_epoch(connection) == former.epoch else session.keys


def remaining(resources: Resources, tenant: str) -> int | None:
    """How many documents a rotation has still to redact; None if none is under way."""
    rotated_at = resources.database.get(tenant).surrogates.rotated_at
    if rotated_at is None:
        return None
    with resources.database.tenant(tenant) as connection:
        return _remaining(connection, rotated_at)


def finish(resources: Resources, session: Session) -> bool:
    """End a rotation when nothing is left to redact again: withdraw what failed documents have from before, and forget the former key.

    Returns whether it ended. It does not while documents are on their way, while the former index is still the searched one, or while
    Neo4j is unavailable. Safe to repeat, and safe beside others: the next call finishes what was cut off.
    """
    from index import generations

    rotated_at = resources.database.get(session.tenant).surrogates.rotated_at
    if rotated_at is None or session.keys.former is None:
        return False
    with session.transaction() as connection:
        if _remaining(connection, rotated_at, most=1):
            return False
    # whoever indexed the last document may have died before the switch
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
    """Whether it was this call that forgot the former key. Raises Unavailable where Neo4j is away: the key is kept then."""
    from index import swap

    resources.models.projection.remove(session.tenant, list(withdrawn.items()))
    with session.transaction() as connection:
        vectors = swap.sweep(connection, AT_ONCE)
        forgotten = bool(_one(connection, "forget", epoch=session.keys.epoch)["forgotten"])
        if forgotten:
            # before the commit: who dies between the two leaves it to be done, and said, again, and not done and unsaid
            said = {"epoch": session.keys.epoch, "withdrawn": len(withdrawn), "vectors": vectors}
            audit.note(resources, "surrogates-forget", session.tenant, "done", said)
    return forgotten


def _withdraw(connection: Connection, session: Session, rotated_at: datetime) -> dict[str, int]:
    """Take away what documents that failed have of before. Gives above which version Neo4j takes nothing of each any more."""
    documents = [row["document"] for row in connection.execute(_SQL["failed"])]
    values = {"documents": documents, "rotated_at": rotated_at}
    connection.execute(_SQL["drop_made_before"], values)
    found = [row["document"] for row in connection.execute(_SQL["projected_before"], values)]
    versions = next_versions(connection, found)
    artifacts.put(connection, session.keys, "graph", {d: encode(Versioned(version)) for d, version in versions.items()})
    connection.execute(_SQL["made_anew"], values | {"stages": STAGES, "withdrawn": found})
    return versions


def _one(connection: Connection, name: str, **values: Any) -> dict[str, Any]:
    return connection.execute(_SQL[name], values).fetchall()[0]


_SQL = statements("pipelines.governance", "sql/surrogate_keys.sql")


def _is_rotating(connection: Connection, resources: Resources, session: Session) -> bool:  # noqa: ARG001
    return session.keys.former is not None


def _finish(resources: Resources, session: Session) -> Mapping[str, int]:
    return {"ended": int(finish(resources, session))}


TASKS = (Task("end-of-rotation", "project", _is_rotating, _finish),)
