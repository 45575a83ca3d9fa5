"""The actor, as the audit log records it. What the actor did is in `pipelines.governance.audit`."""

from __future__ import annotations

import os
from contextvars import ContextVar

from core.errors import HeadraceError

MAX_LENGTH = 200
_claimed: ContextVar[str | None] = ContextVar("claimed", default=None)


def claim(name: str | None) -> None:
    """Record `name`, which is not verified, beside the login from here on; None: the login alone. Raises HeadraceError `bad-actor`."""
    if name is not None and not (name.strip() and len(name) <= MAX_LENGTH and name.isprintable()):
        raise HeadraceError(f"a name is 1 to {MAX_LENGTH} printable characters", reason="bad-actor", remedy="Name it with --as NAME.")
    _claimed.set(name)


def acting() -> dict[str, str]:
    """`login`, from the operating system, and `as`, if a name was claimed."""
    claimed = _claimed.get()
    return {"login": _login()} | ({} if claimed is None else {"as": claimed})


def _login() -> str:
    """Not from LOGNAME or USER: anybody can set those."""
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"
