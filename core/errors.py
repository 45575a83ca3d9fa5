"""The exceptions, with one root. Drivers' errors are translated at the edge of the folder that owns the driver.

A message never contains document text, a document id, a title or any other value from a document: terminals, logs and Dagster may show
it before redaction.
"""

from __future__ import annotations


class HeadraceError(Exception):
    """Root of every error a caller may catch.

    `reason` is a stable code (lower case, hyphens) that metrics, dead letters and exit codes are keyed by;
    `detail` says what happened; `remedy` says what to do about it.
    """

    reason = "error"
    remedy = ""

    def __init__(self, detail: str, *, reason: str | None = None, remedy: str | None = None) -> None:
        self.detail = detail
        self.reason = reason or self.reason
        self.remedy = remedy or self.remedy
        super().__init__(" ".join(part for part in (f"[{self.reason}]", detail, self.remedy) if part))


class ConfigurationError(HeadraceError):
    """The configuration cannot work; refused at start-up with the bad value in the message."""

    reason = "bad-configuration"


class TenantError(HeadraceError):
    """The tenant does not exist, exists already, or its name is not allowed."""

    reason = "unknown-tenant"


class PolicyError(HeadraceError):
    """A tenant's own settings cannot work. Its neighbours are not affected."""

    reason = "bad-policy"
    remedy = "`headrace tenant set` changes a tenant's configuration."


class ContractError(HeadraceError):
    """An event does not match the contract. Becomes a dead letter."""

    reason = "contract-violation"


class DocumentError(HeadraceError):
    """This document cannot pass this stage, now or on a retry. Becomes a dead letter."""

    reason = "document-failed"


class Unavailable(HeadraceError):
    """A server does not answer. The stage waits and retries; nothing is dead-lettered."""

    reason = "unavailable"


class LostRace(HeadraceError):
    """Another process moved the position or the ledger first; this one's result is discarded."""

    reason = "lost-race"
