"""The audit log: who erased, replayed, released, dismissed or configured what, and when. Counts and keys, never a value.

One chain per installation (`headrace.audit`, migration 0009): each entry's hash covers the previous one, and its seal is an HMAC under a
key derived from the master key. In the database only the pipeline's login can add entries, and nobody can change or remove them.
An act has two entries: one before anything is done, and one with the result. An act that was cut off has only the first.
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
ATTEMPTS = 100
"""How often another writer may take the next number first."""


@dataclass(frozen=True)
class Mark:
    """An entry's place in the chain, written `NUMBER:HASH`. A mark kept elsewhere proves that nothing up to it was replaced."""

    number: int
    hash: bytes

    def __str__(self) -> str:
        return f"{self.number}:{self.hash.hex()}"


@dataclass(frozen=True)
class Act:
    """An act in progress: the mark of its first entry, and the `details` to record when it is done."""

    begun: Mark
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """The result of verifying the whole chain. `last`: the mark of the last entry.

    `broken_at`: the first entry that does not follow from the previous ones, or whose seal is not valid; `why` tells which.
    """

    entries: int
    last: str | None
    broken_at: int | None
    why: str | None

    @property
    def whole(self) -> bool:
        return self.broken_at is None


@contextmanager
def recorded(resources: Resources, action: str, tenant: str | None, **keys: Any) -> Iterator[Act]:
    """Record that `action` begins, and afterwards its result: `done` with the act's details, or `failed` with the reason.

    If the first entry cannot be written, the block does not run. `keys` and details hold names of settings, kinds and counts.
    """
    act = Act(note(resources, action, tenant, "begun", keys))
    try:
        yield act
    except BaseException as error:
        reason = error.reason if isinstance(error, HeadraceError) else type(error).__name__
        with suppress(HeadraceError):
            note(resources, action, tenant, "failed", {**keys, "reason": reason})
        raise
    note(resources, action, tenant, "done", {**keys, **act.details})


def note(resources: Resources, action: str, tenant: str | None, state: str, details: Mapping[str, Any]) -> Mark:
    """Append an entry. Raises LostRace if others take the next number every time."""
    content = {"action": action, "state": state, "tenant": tenant, "actor": acting(), "details": dict(details)}
    for _ in range(ATTEMPTS):
        if mark := _append(resources, content):
            return mark
    raise LostRace("the audit log is written to all the time")


def _append(resources: Resources, content: Mapping[str, Any]) -> Mark | None:
    with resources.database.control() as connection:
        mark = add(connection, resources, content)
        # after the entry, which either precedes a change of the master key or waits for it: a refusal rolls the entry back
        installation_keys.refuse_former(resources, connection)
        return mark


def add(connection: Connection, resources: Resources, content: Mapping[str, Any]) -> Mark | None:
    """Append an entry in this transaction, sealed under the configured master key. None if another writer was first."""
    last = connection.execute(_SQL["last"]).fetchall()[0]
    entry = json.dumps({**content, "at": last["at"].isoformat()}, sort_keys=True, separators=(",", ":"))
    mark = Mark(last["number"] + 1, _hash(last["number"] + 1, last["hash"], entry))
    key = installation_key(resources.master_key, "audit")
    values = {"number": mark.number, "entry": entry, "seal": _seal(key, mark.hash)}
    stored = connection.execute(_SQL["add"], values).fetchall()[0]["hash"]
    return mark if stored == mark.hash else None


def entries(resources: Resources, tenant: str | None = None, limit: int = 50) -> list[dict[str, Any]]:
    """The newest entries first: `number`, `at`, `actor`, `action`, `state`, `tenant`, `details`, `hash`."""
    with resources.database.control() as connection:
        rows = connection.execute(_SQL["newest"], {"tenant": tenant, "limit": limit}).fetchall()
    return [{"number": row["number"], **_content(row["entry"]), "hash": row["hash"].hex()} for row in rows]


def _content(entry: str) -> dict[str, Any]:
    content = json.loads(entry)
    return {name: content[name] for name in ("action", "state", "tenant", "actor", "details")} | {
        "at": datetime.fromisoformat(content["at"])
    }


def verify(resources: Resources, mark: Mark | None = None) -> Verdict:
    """Verify the chain from its beginning and, given a `mark` that was kept elsewhere, that the chain still has its entry."""
    number, before, keys = 0, None, installation_keys.keyring(resources)
    while page := _page(resources, number):
        for row in page:
            if why := _fault(keys, row, number, before):
                return Verdict(number, None, number + 1, why)
            number, before = row["number"], row["hash"]
    missing = mark if mark and not has(resources, mark) else None
    last = str(Mark(number, before)) if before else None
    return Verdict(number, last, missing.number if missing else None, "another chain: the marked entry is not in it" if missing else None)


def has(resources: Resources, mark: Mark) -> bool:
    """Whether the chain has this entry."""
    with resources.database.control() as connection:
        rows = connection.execute(_SQL["hash_at"], {"number": mark.number}).fetchall()
    return [row["hash"] for row in rows] == [mark.hash]


def completion(resources: Resources, begun: Mark, receipt: str) -> Mapping[str, Any] | None:
    """The details of the `done` entry of the act that began with this entry and issued this receipt; None if there is none."""
    with resources.database.control() as connection:
        rows = connection.execute(_SQL["completion"], {"number": begun.number, "receipt": receipt}).fetchall()
    return json.loads(rows[0]["entry"])["details"] if rows else None


def parse_mark(text: str) -> Mark:
    """A mark from `NUMBER:HASH`. Raises HeadraceError `bad-mark`."""
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
        return "the seal was not made with this installation's master key"
    return None


def _hash(number: int, before: bytes | None, entry: str) -> bytes:
    """The same hash as `headrace.add_audit` computes."""
    return sha256(f"{number}\n{before.hex() if before else ''}\n{entry}".encode()).digest()


def _seal(key: bytes, digest: bytes) -> bytes:
    return hmac.digest(key, digest, sha256)


_SQL = statements("pipelines.governance", "sql/audit.sql")
