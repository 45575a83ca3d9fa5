"""The installation's own keys, derived from the master key: what seals the audit log, and what signs receipts.

They outlive a change of the master key (`pipelines.governance.master_key`): an entry of the audit log up to that change, and a receipt
that began with such
an entry, are verified by the former master's. To the log, who has the former master key can add nothing that passes; such a person can sign
a receipt that names an entry from before the change, and that receipt's digest is not in the log.
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
    """The keys of a former master, for what is bound to the audit log's entries up to `last`."""

    number: int
    last: int
    keys: Mapping[Use, bytes]


@dataclass(frozen=True)
class Keyring:
    """All that this installation verifies by. `former` in the order of the changes."""

    current: Mapping[Use, bytes]
    former: tuple[Former, ...]

    def key(self, use: Use, number: int) -> bytes:
        """For what is bound to the audit log's entry of this number."""
        return next((before.keys[use] for before in self.former if number <= before.last), self.current[use])


def keyring(resources: Resources) -> Keyring:
    """Raises CannotDecrypt where the master key was changed, and the configured one is not the one in force since."""
    from privacy.encryption import installation_key, unwrap_installation

    master = resources.master_key
    with resources.database.control() as connection:
        rows = connection.execute(statements("pipelines.governance", "sql/master_key.sql")["changes"]).fetchall()
    former = []
    for row in rows:
        both = unwrap_installation(master, row["former"])
        former.append(Former(row["number"], row["last_audit"], {"receipt": both[:32], "audit": both[32:]}))
    return Keyring({use: installation_key(master, use) for use in USES}, tuple(former))


def master_key_changed() -> ConfigurationError:
    """What whoever is configured with a former master key is told."""
    return ConfigurationError(
        "the master key was changed: the configured one is not in force",
        reason="master-key-changed",
        remedy="Put the new one into `master_key`.",
    )


def refuse_former(resources: Resources, connection: Connection) -> None:
    """Raises ConfigurationError `master-key-changed` where the master key was changed to another one than is configured."""
    if connection.execute(statements("pipelines.governance", "sql/master_key.sql")["mark"]).fetchall()[0]["mark"] not in (
        None,
        mark(resources),
    ):
        raise master_key_changed()


def mark(resources: Resources) -> bytes:
    """By this the database knows the configured master key from another one; nothing else can be told from it."""
    from privacy.encryption import installation_key

    return installation_key(resources.master_key, "mark")
