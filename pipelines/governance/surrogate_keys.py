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
from core.config import master_key_bytes
from core.errors import HeadraceError, Unavailable
from core.keys import TenantKeys
from core.ledger.stage import Session
from core.records import encode
from core.sql import statements
from core.tenancy import Connection
from pipelines.app import Headrace
from pipelines.governance import audit
from pipelines.governance.installation_keys import master_key_changed
from pipelines.governance.legal_hold import refuse_held
from pipelines.stages.inputs import Versioned
from pipelines.stages.registry import NAMES

STAGES = list(NAMES[NAMES.index("redact") :])
"""What depends on the surrogate key, itself or by what it is computed from."""

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


def rotate(headrace: Headrace, tenant: str) -> Rotated:
    """Give the tenant a fresh surrogate key. Raises HeadraceError `rotation-unfinished` where the last rotation has not come to its end.

    And `legal-hold`: what cannot be redacted anew leaves with the switch. `master-key-changed` where that happened meanwhile.

    Landing and every stage of this tenant wait until it is committed: 12 s with 100,000 documents, on two cores that others use too.
    """
    from privacy import new_surrogate_key

    refuse_held(headrace, tenant)
    # first: a session that opens after a change of the master key is refused, and one that opened before it finds another wrapped key
    data_key = headrace.database.get(tenant).wrapped_key
    session = headrace.session(tenant)
    before = session.keys.epoch
    wrapped = new_surrogate_key(master_key_bytes(headrace.endpoints.master_key), tenant)
    with audit.recorded(headrace, "surrogates-rotate", tenant, epoch=before + 1) as act:
        found = _exchanged(session, wrapped, data_key)
        act.said.update(found)
    return Rotated(tenant, before + 1, **found)


def _exchanged(session: Session, wrapped: bytes, data_key: bytes) -> dict[str, int]:
    """`wrapped`, the new key, takes effect where the tenant's `data_key` is still wrapped under the same master key as it."""
    from index import generations

    with session.transaction() as connection:
        connection.execute(_sql("hold"))
        if not _one(connection, "rotate", epoch=session.keys.epoch, wrapped=wrapped, data_key=data_key)["rotated"]:
            raise _refused(session, data_key)
        found = _one(connection, "documents")
        connection.execute(_sql("fall_behind"), {"stages": STAGES})
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


def left(headrace: Headrace, tenant: str) -> int | None:
    """How many documents a rotation has still to take; None where none is under way."""
    rotated_at = headrace.database.get(tenant).surrogates.rotated_at
    if rotated_at is None:
        return None
    with headrace.database.tenant(tenant) as connection:
        return _left(connection, rotated_at)


def settle(headrace: Headrace, session: Session) -> bool:
    """End a rotation where nothing is left to redact anew: withdraw what failed documents have of before, and forget the former key.

    True where that came about. False where documents are on their way, the former index is still the one that is searched (of what it
    holds nothing has passed), or Neo4j is away. Safe to repeat, and beside others: what was cut off is done by the next call.
    """
    from index import generations

    rotated_at = headrace.database.get(session.tenant).surrogates.rotated_at
    if rotated_at is None or session.keys.former is None:
        return False
    with session.transaction() as connection:
        if _left(connection, rotated_at, most=1):
            return False
    # whoever indexed the last document may have died before the switch
    headrace.promote(session)
    with session.transaction() as connection:
        if generations.holds_older(connection, session.keys.epoch):
            return False
        withdrawn = _withdraw(connection, session, rotated_at)
    with suppress(Unavailable):
        return _forgotten(headrace, session, withdrawn)
    return False


def _left(connection: Connection, rotated_at: datetime, most: int | None = None) -> int:
    return int(_one(connection, "left", stages=STAGES, rotated_at=rotated_at, most=most)["documents"])


def _forgotten(headrace: Headrace, session: Session, withdrawn: Mapping[str, int]) -> bool:
    """Whether it was this call that forgot the former key. Raises Unavailable where Neo4j is away: the key is kept then."""
    from index import swap

    headrace.models.projection.remove(session.tenant, list(withdrawn.items()))
    with session.transaction() as connection:
        vectors = swap.sweep(connection, AT_ONCE)
        forgotten = bool(_one(connection, "forget", epoch=session.keys.epoch)["forgotten"])
        if forgotten:
            # before the commit: who dies between the two leaves it to be done, and said, again, and not done and unsaid
            said = {"epoch": session.keys.epoch, "withdrawn": len(withdrawn), "vectors": vectors}
            audit.note(headrace, "surrogates-forget", session.tenant, "done", said)
    return forgotten


def _withdraw(connection: Connection, session: Session, rotated_at: datetime) -> dict[str, int]:
    """Take away what documents that failed have of before. Gives above which version Neo4j takes nothing of each any more."""
    documents = [row["document"] for row in connection.execute(_sql("failed"))]
    values = {"documents": documents, "rotated_at": rotated_at}
    connection.execute(_sql("drop_made_before"), values)
    found = [row["document"] for row in connection.execute(_sql("projected_before"), values)]
    numbers = connection.execute(statements("pipelines.stages", "sql/versions.sql")["next"], {"documents": found}).fetchall()
    versions = {row["document"]: int(row["version"]) for row in numbers}
    artifacts.put(connection, session.keys, "graph", {d: encode(Versioned(version)) for d, version in versions.items()})
    connection.execute(_sql("made_anew"), values | {"stages": STAGES, "withdrawn": found})
    return versions


def _one(connection: Connection, name: str, **values: Any) -> dict[str, Any]:
    return connection.execute(_sql(name), values).fetchall()[0]


def _sql(name: str) -> Any:
    return statements("pipelines.governance", "sql/surrogate_keys.sql")[name]
