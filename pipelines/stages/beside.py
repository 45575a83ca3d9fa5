"""The generation beside the active one: which settings it has, and what became of it. One for each tenant (table `reindex`).

Building it is in `pipelines.stages.rebuild`; when it is built, compared and switched to, in `pipelines.operations.reindex`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec
from psycopg.types.json import Jsonb

from core import outcomes
from core.policy import Chunking, EmbeddingModel, Policy
from core.records import convert
from core.sql import statements
from core.tenancy import Connection

State = Literal["building", "refused", "standby", "ended"]


class Beside(msgspec.Struct, frozen=True):
    """The generation beside the active one.

    `settings`: the sections `embedding` and `chunking` of the policy that it is built with. `reason`: why it was refused, switched or
    ended. `comparison`: the last one with the active generation (`pipelines.operations.comparison`).
    """

    settings: dict[str, Any]
    fingerprint: str
    state: State
    reason: str
    comparison: dict[str, Any] | None
    requested_at: datetime
    changed_at: datetime

    def policy(self, policy: Policy) -> Policy:
        """The tenant's policy with the settings of this generation."""
        chunking, embedding = Chunking.model_validate(self.settings["chunking"]), EmbeddingModel.model_validate(self.settings["embedding"])
        return policy.model_copy(update={"chunking": chunking, "embedding": embedding})


def settings_of(policy: Policy) -> dict[str, Any]:
    """The settings that decide a tenant's generation, complete, so that they mean the same when the installation's have changed."""
    return {name: getattr(policy, name).model_dump(mode="json") for name in ("embedding", "chunking")}


def read(connection: Connection) -> Beside | None:
    """The tenant's last one, which may have ended; None if there was none."""
    rows = connection.execute(_SQL["read"]).fetchall()
    return convert(rows[0], Beside) if rows else None


def is_wanted(connection: Connection, fingerprint: str) -> bool:
    """Whether the generation with this fingerprint is being built, or stands by. The caller holds the tenant's swap lock."""
    return bool(connection.execute(_SQL["is_wanted"], {"fingerprint": fingerprint}).fetchall()[0]["wanted"])


def is_in(connection: Connection, state: State) -> bool:
    return bool(connection.execute(_SQL["is_in"], {"state": state}).fetchall()[0]["found"])


def begin(connection: Connection, settings: Mapping[str, Any], fingerprint: str) -> None:
    """Let a generation with these settings be built. What another one has is dropped; what this one has already, stays."""
    from index import generations

    generations.lock(connection)
    found = read(connection)
    if found and found.fingerprint != fingerprint:
        _clear(connection, found.fingerprint)
    connection.execute(_SQL["begin"], {"settings": Jsonb(dict(settings)), "fingerprint": fingerprint})


def follow(connection: Connection, found: Beside, fingerprint: str) -> None:
    """Build under another fingerprint from now on: the code or the tenant's surrogate key has changed, the settings have not."""
    from index import generations

    generations.lock(connection)
    _clear(connection, found.fingerprint)
    connection.execute(_SQL["follow"], {"was": found.fingerprint, "fingerprint": fingerprint})


def refuse(connection: Connection, found: Beside, reason: str, comparison: Mapping[str, Any] | None = None) -> None:
    """Stop building, and keep what is built for whoever wants to look."""
    values = {"fingerprint": found.fingerprint, "reason": reason, "comparison": None if comparison is None else Jsonb(dict(comparison))}
    connection.execute(_SQL["refuse"], values)


def end(connection: Connection, found: Beside, reason: str) -> None:
    """Drop it."""
    from index import generations

    generations.lock(connection)
    connection.execute(_SQL["end"], {"fingerprint": found.fingerprint, "reason": reason})
    _clear(connection, found.fingerprint)


def switch(
    connection: Connection,
    found: Beside,
    active: Mapping[str, Any],
    fingerprint: str,
    reason: str,
    comparison: Mapping[str, Any] | None = None,
) -> bool:
    """Let it take the active one's place, and that one its own, in this transaction. The tenant's settings become its own.

    `active`: the settings of the active generation, and `fingerprint` its fingerprint. Returns False, and changes nothing, if the two are
    not what they were, or a live document would be lost.
    """
    from index import generations

    generations.lock(connection)
    now = read(connection)
    if now is None or (now.state, now.fingerprint) != (found.state, found.fingerprint):
        return False
    if not generations.switch(connection, found.fingerprint, fingerprint):
        return False
    connection.execute(_SQL["configure"], {name: Jsonb(section) for name, section in found.settings.items()})
    values = {"settings": Jsonb(dict(active)), "fingerprint": fingerprint, "reason": reason}
    connection.execute(_SQL["stand_by"], values | {"comparison": None if comparison is None else Jsonb(dict(comparison))})
    _forget_records(connection)
    # what the index stage has done for the generation that stands by now, so that it is not done again
    connection.execute(_SQL["adopt_records"], {"fingerprint": fingerprint})
    outcomes.indexed(connection)
    return True


def _clear(connection: Connection, fingerprint: str) -> None:
    from index import generations

    generations.drop(connection, fingerprint)
    _forget_records(connection)


def _forget_records(connection: Connection) -> None:
    for statement in ("drop_records", "drop_claims", "resolve"):
        connection.execute(_SQL[statement])


_SQL = statements("pipelines.stages", "sql/beside.sql")
