"""The audit log: who erased, replayed, let go, dismissed, held or configured what, and when. Counts and keys, never a value.

One chain for the installation (`headrace.audit`, migration 0009): each entry's hash covers the one before, and its seal is an HMAC under a
key derived from the master key. The database lets nobody but the pipeline's login add, and nobody at all change or remove.
An act has two entries: that it begins, before anything is done, and what came of it. One that was cut off has the first alone.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from core.errors import HeadraceError, LostRace
from core.sql import statements
from core.tenancy import Connection
from pipelines.governance import installation_keys
from pipelines.governance.actor import acting
from pipelines.resources import Resources
from privacy.encryption import installation_key

PAGE = 1_000
TRIES = 100
"""How often others may be first to the next number."""


@dataclass(frozen=True)
class Mark:
    """An entry's place in the chain; written `NUMBER:HASH`. Kept elsewhere, it shows that nothing up to it was cut off or made anew."""

    number: int
    hash: bytes

    def __str__(self) -> str:
        return f"{self.number}:{self.hash.hex()}"


@dataclass(frozen=True)
class Act:
    """What is being done: the entry that it begins with, and what is to be said when it is done."""

    begun: Mark
    said: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What a look at the whole chain found. `broken_at`: the first entry that does not follow from those before, or is not sealed by us."""

    entries: int
    last: str | None
    broken_at: int | None
    why: str | None

    @property
    def whole(self) -> bool:
        return self.broken_at is None


@contextmanager
def recorded(resources: Resources, action: str, tenant: str | None, **keys: Any) -> Iterator[Act]:
    """Note that `action` begins, and afterwards what came of it: `done` with what the act said, or `failed` with the reason.

    Nothing is begun where that cannot be noted. `keys` and what is said: names of settings, kinds, counts.
    """
    act = Act(note(resources, action, tenant, "begun", keys))
    try:
        yield act
    except BaseException as error:
        reason = error.reason if isinstance(error, HeadraceError) else type(error).__name__
        with suppress(HeadraceError):
            note(resources, action, tenant, "failed", {**keys, "reason": reason})
        raise
    note(resources, action, tenant, "done", {**keys, **act.said})


def note(resources: Resources, action: str, tenant: str | None, state: str, details: Mapping[str, Any]) -> Mark:
    """One entry behind the last one. Raises LostRace where others are first all the time."""
    told = {"action": action, "state": state, "tenant": tenant, "actor": acting(), "details": dict(details)}
    for _ in range(TRIES):
        if mark := _added(resources, told):
            return mark
    raise LostRace("the audit log is written to all the time")


def _added(resources: Resources, told: Mapping[str, Any]) -> Mark | None:
    with resources.database.control() as connection:
        mark = add(connection, resources, told)
        # behind the entry, which takes its number from a change of the master key or waits for one: what is refused here is rolled back
        installation_keys.refuse_former(resources, connection)
        return mark


def add(connection: Connection, resources: Resources, told: Mapping[str, Any]) -> Mark | None:
    """One entry in this transaction, sealed under the master key that is configured. None where another one was first."""
    last = connection.execute(_SQL["last"]).fetchall()[0]
    entry = json.dumps({**told, "at": last["at"].isoformat()}, sort_keys=True, separators=(",", ":"))
    mark = Mark(last["number"] + 1, _hash(last["number"] + 1, last["hash"], entry))
    key = installation_key(resources.master_key, "audit")
    values = {"number": mark.number, "entry": entry, "seal": _seal(key, mark.hash)}
    made = connection.execute(_SQL["add"], values).fetchall()[0]["hash"]
    return mark if made == mark.hash else None


def entries(resources: Resources, tenant: str | None = None, limit: int = 50) -> list[dict[str, Any]]:
    """The newest first: `number`, `at`, `actor`, `action`, `state`, `tenant`, `details`, `hash`."""
    with resources.database.control() as connection:
        rows = connection.execute(_SQL["newest"], {"tenant": tenant, "limit": limit}).fetchall()
    return [{"number": row["number"], **_told(row["entry"]), "hash": row["hash"].hex()} for row in rows]


def _told(entry: str) -> dict[str, Any]:
    told = json.loads(entry)
    return {**{name: told[name] for name in ("action", "state", "tenant", "actor", "details")}, "at": datetime.fromisoformat(told["at"])}


def verify(resources: Resources, mark: Mark | None = None) -> Verdict:
    """Follow the chain from its beginning. With a `mark` that was kept elsewhere, whether that entry is still there as it was."""
    number, before, keys = 0, None, installation_keys.keyring(resources)
    while page := _page(resources, number):
        for row in page:
            if why := _fault(keys, row, number, before):
                return Verdict(number, None, number + 1, why)
            number, before = row["number"], row["hash"]
    missing = mark if mark and not holds(resources, mark) else None
    last = str(Mark(number, before)) if before else None
    return Verdict(number, last, missing.number if missing else None, "another chain: the marked entry is not in it" if missing else None)


def holds(resources: Resources, mark: Mark) -> bool:
    """Whether the chain has this entry."""
    with resources.database.control() as connection:
        rows = connection.execute(_SQL["hash_at"], {"number": mark.number}).fetchall()
    return [row["hash"] for row in rows] == [mark.hash]


def receipted(resources: Resources, begun: Mark, receipt: str) -> Mapping[str, Any] | None:
    """What is said where an act that began with this entry, and gave this receipt, is done."""
    with resources.database.control() as connection:
        rows = connection.execute(_SQL["receipted"], {"number": begun.number, "receipt": receipt}).fetchall()
    return json.loads(rows[0]["entry"])["details"] if rows else None


def marked(text: str) -> Mark:
    """A mark as it is written. Raises HeadraceError `bad-mark`."""
    number, _, digest = text.partition(":")
    with suppress(ValueError):
        if number.isdigit() and len(raw := bytes.fromhex(digest)) == 32:
            return Mark(int(number), raw)
    raise HeadraceError("a mark is NUMBER:HASH", reason="bad-mark", remedy="`headrace audit verify` prints the last entry's.")


def _page(resources: Resources, number: int) -> list[dict[str, Any]]:
    with resources.database.control() as connection:
        return connection.execute(_SQL["after"], {"number": number, "limit": PAGE}).fetchall()


def _fault(keys: installation_keys.Keyring, row: Mapping[str, Any], number: int, before: bytes | None) -> str | None:
    if row["number"] != number + 1:
        return "an entry is missing"
    if row["hash"] != _hash(row["number"], before, row["entry"]):
        return "the entry, or one before it, was changed"
    if not hmac.compare_digest(row["seal"], _seal(keys.key("audit", row["number"]), row["hash"])):
        return "the seal is not of this installation's master key"
    return None


def _hash(number: int, before: bytes | None, entry: str) -> bytes:
    """As `headrace.add_audit` makes it."""
    return sha256(f"{number}\n{before.hex() if before else ''}\n{entry}".encode()).digest()


def _seal(key: bytes, digest: bytes) -> bytes:
    return hmac.digest(key, digest, sha256)


_SQL = statements("pipelines.governance", "sql/audit.sql")
