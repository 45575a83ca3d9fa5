"""The exceptions, with one root. Drivers' errors are translated at the edge of the folder that owns the driver.

A message never contains document text, a document id, a title or any other value from a document: terminals, logs and Dagster may show
it before redaction.
"""

from __future__ import annotations

from pathlib import PurePath
from traceback import walk_tb


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

    @property
    def next_step(self) -> str:
        """The remedy, or where the reason code is explained."""
        return self.remedy or "See docs/cli.md."


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


def described(error: Exception) -> HeadraceError:
    """The error itself if it is ours. Any other is reduced to its type, as its message may quote a document, and is the cause."""
    if isinstance(error, HeadraceError):
        return error
    if isinstance(error, OSError):
        detail, remedy = error.strerror or type(error).__name__, "Check the path, its permissions and the disk."
        found = HeadraceError(detail, reason="system-error", remedy=remedy)
    else:
        remedy = "Run it again with --debug, before the command, and report it."
        kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
        found = HeadraceError(f"unexpected {kind}", reason="bug", remedy=remedy)
    found.__cause__ = error
    return found


def place(error: BaseException) -> str:
    """The type of an exception and where it was raised; never its message."""
    frame, line = list(walk_tb(error.__traceback__))[-1]
    return f"{type(error).__name__} at {PurePath(frame.f_code.co_filename).name}:{frame.f_code.co_name}:{line}"


def is_crash(error: BaseException) -> bool:
    """Whether it is an unexpected exception: none of ours, no interrupt, no exit. A panic of a Rust library is one."""
    unforeseen = isinstance(error, Exception) or type(error).__name__ == "PanicException"
    return unforeseen and not isinstance(error, HeadraceError)
