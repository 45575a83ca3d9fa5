"""The exit codes of the command line (docs/cli.md), and the one that belongs to an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.errors import HeadraceError

ANSWER_IS_NO = 1
"""A verification that failed."""
UNAVAILABLE = 4
"""A server is unavailable or did not start."""
NOT_WELL = 6
"""`doctor` found a problem."""
IN_PART = 7
"""Something was done and something else was not; the output says what."""
BUG = 70
INTERRUPTED = 130

BY_REASON = {
    "bug": BUG,
    "bad-actor": 2,
    "bad-mark": 2,
    "bad-master-key": 2,
    "bad-receipt": 2,
    "bad-cursor": 2,
    "bad-filter": 2,
    "bad-option": 2,
    "bad-tenant-name": 2,
    "bad-evaluation": 2,
    "bad-freshness": 2,
    "bad-judgements": 2,
    "bad-policy": 2,
    "bad-position": 2,
    "bad-principals": 2,
    "bad-queries": 2,
    "bad-query": 2,
    "bad-top": 2,
    "duplicate-id": 2,
    "empty-value": 2,
    "export-not-empty": 2,
    "export-not-writable": 2,
    "no-files": 2,
    "receipt-exists": 2,
    "receipt-not-writable": 2,
    "unknown-api-key": 5,
    "unknown-document": 5,
    "unknown-source": 5,
    "unknown-dead-letter": 5,
    "server-did-not-start": UNAVAILABLE,
    "servers-unavailable": UNAVAILABLE,
    "tenant-exists": 5,
}
"""Reason code → exit code, if it differs from the one of the error's class."""


def exit_code(error: HeadraceError) -> int:
    """The exit code of the error's reason, or of its class, or 1."""
    from core.errors import ConfigurationError, TenantError, Unavailable

    classes = {ConfigurationError: 3, Unavailable: UNAVAILABLE, TenantError: 5}
    return BY_REASON.get(error.reason) or next((code for kind, code in classes.items() if isinstance(error, kind)), 1)
