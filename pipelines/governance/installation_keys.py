"""The installation's own keys, derived from the master key: they seal the audit log and sign receipts.

They outlive a change of the master key (`pipelines.governance.master_key`): audit log entries up to the change, and receipts that began
with one of them, are verified with the former master key's. The holder of a former master key cannot add a valid entry to the log, but can
sign a receipt that names an entry from before the change; that receipt's digest is not in the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from core.errors import ConfigurationError
from core.sql import statements
from core.tenancy import Connection
from pipelines.resources import Resources

Use = Literal["receipt", "audit"]
USES: tuple[Use, ...] = ("receipt", "audit")


@dataclass(frozen=True)
class Former:
    """The keys of a former master key, for everything bound to the audit log's entries up to `last`."""

    number: int
    last: int
    keys: Mapping[Use, bytes]


@dataclass(frozen=True)
class Keyring:
    """The keys that this installation verifies with. `former` is in the order of the changes."""

    current: Mapping[Use, bytes]
    former: tuple[Former, ...]

    def key(self, use: Use, number: int) -> bytes:
        """The key for what is bound to the audit log's entry of this number."""
        return next((before.keys[use] for before in self.former if number <= before.last), self.current[use])


def keyring(resources: Resources) -> Keyring:
    """Every key, the former ones unwrapped. Raises CannotDecrypt if the configured master key is not the one in force."""
    from privacy.encryption import installation_key, unwrap_installation

    master = resources.master_key
    with resources.database.control() as connection:
        rows = connection.execute(_SQL["changes"]).fetchall()
    former = []
    for row in rows:
        both = unwrap_installation(master, row["former"])
        former.append(Former(row["number"], row["last_audit"], {"receipt": both[:32], "audit": both[32:]}))
    return Keyring({use: installation_key(master, use) for use in USES}, tuple(former))


def master_key_changed() -> ConfigurationError:
    """The error of a process that is configured with a former master key."""
    return ConfigurationError(
        "the master key was changed: the configured one is not in force",
        reason="master-key-changed",
        remedy="Put the new one into `master_key`.",
    )


def refuse_former(resources: Resources, connection: Connection) -> None:
    """Raises ConfigurationError `master-key-changed` if the master key was changed to another one than is configured."""
    if connection.execute(_SQL["mark"]).fetchall()[0]["mark"] not in (None, mark(resources)):
        raise master_key_changed()


def mark(resources: Resources) -> bytes:
    """A value by which the database distinguishes the configured master key from others; it reveals nothing else."""
    from privacy.encryption import installation_key

    return installation_key(resources.master_key, "mark")


_SQL = statements("pipelines.governance", "sql/master_key.sql")
