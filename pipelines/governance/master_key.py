"""Changing the master key: everything that is wrapped under the old one is wrapped under the new one, in one transaction.

No tenant's key changes, so nothing is sealed, digested or redacted again. What the old master key signed can still be verified
(`pipelines.governance.installation_keys`). A process configured with the old one can open no tenant and begin no act any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from pydantic import SecretStr

from core.config import master_key_bytes
from core.errors import HeadraceError, LostRace
from core.keys import Surrogates
from core.sql import statements
from core.tenancy import Connection
from pipelines.governance import audit
from pipelines.governance.actor import acting
from pipelines.governance.installation_keys import USES, Use, keyring, mark
from pipelines.resources import Resources


@dataclass(frozen=True)
class Rewrapped:
    """`tenants`: how many tenants' keys were rewrapped. `audit`: the mark of the audit log's entry."""

    tenants: int
    audit: str


def rewrap(resources: Resources, master: SecretStr) -> Rewrapped:
    """Wrap everything under `master` (32 bytes in base64). From then on only processes that are configured with it can work.

    Raises HeadraceError `bad-master-key`, or `still-running` if a stream runs; LostRace if the audit log is written to meanwhile;
    CannotDecrypt if the configured master key is not the one in force.
    """
    new = _validated(resources, master)
    _refuse_running(resources)
    audit.note(resources, _ACTION, None, "begun", {})
    try:
        return _rewrapped(resources, Resources(resources.settings, resources.endpoints.model_copy(update={"master_key": master})), new)
    except HeadraceError as error:
        with suppress(HeadraceError):
            audit.note(resources, _ACTION, None, "failed", {"reason": error.reason})
        raise


_ACTION = "master-rewrap"


def _rewrapped(resources: Resources, after: Resources, new: bytes) -> Rewrapped:
    """In one transaction, which ends with the audit log's entry: the first one that is sealed under the new master key."""
    from core.schema.migrate import locked_owner

    with locked_owner(resources.owner_url) as connection:
        before = keyring(resources)
        tenants = _rewrap_tenants(connection, resources.master_key, new)
        for former in before.former:
            connection.execute(_SQL["rewrap_change"], {"number": former.number, "former": _packed(new, former.keys)})
        done = {"action": _ACTION, "state": "done", "tenant": None, "actor": acting(), "details": {"tenants": tenants}}
        entry = audit.add(connection, after, done)
        if entry is None:
            raise LostRace("the audit log was written to meanwhile: end every process of Headrace, and try again")
        values = {"last_audit": entry.number - 1, "former": _packed(new, before.current), "mark": mark(after)}
        connection.execute(_SQL["change"], values)
    return Rewrapped(tenants, str(entry))


def _validated(resources: Resources, master: SecretStr) -> bytes:
    try:
        new = master_key_bytes(master)
    except ValueError as error:
        raise HeadraceError(str(error), reason="bad-master-key", remedy="`openssl rand -base64 32` generates one.") from None
    if new == resources.master_key:
        raise HeadraceError("this is the master key that is in force", reason="bad-master-key", remedy="Pass another one.")
    return new


def _refuse_running(resources: Resources) -> None:
    from pipelines.stream.slots import slots

    if running := [slot.slot for slot in slots(resources) if slot.state in ("running", "starting")]:
        raise HeadraceError(
            f"streams are running: {', '.join(running)}", reason="still-running", remedy="End every process of Headrace first, Dagster too."
        )


def _rewrap_tenants(connection: Connection, old: bytes, new: bytes) -> int:
    from privacy import encryption

    rows = connection.execute(_SQL["tenants"]).fetchall()
    for row in rows:
        tenant = row["tenant"]
        before = Surrogates(row["surrogate_epoch"], row["wrapped_surrogate_key"], row["former_surrogate_key"], row["rotated_at"])
        try:
            after = encryption.rewrap_surrogates(old, new, tenant, before)
            wrapped = encryption.rewrap(old, new, tenant, row["wrapped_key"])
        except encryption.CannotDecrypt as error:
            # all tenants or none: a tenant left under the old key would be lost with it
            raise encryption.CannotDecrypt(f"tenant {tenant!r}: {error.detail}") from None
        values = {"wrapped": wrapped, "surrogate": after.wrapped, "former": after.former}
        connection.execute(_SQL["rewrap"], {"tenant": tenant, **values})
    return len(rows)


def _packed(master: bytes, keys: Mapping[Use, bytes]) -> bytes:
    from privacy.encryption import wrap_installation

    return wrap_installation(master, b"".join(keys[use] for use in USES))


_SQL = statements("pipelines.governance", "sql/master_key.sql")
