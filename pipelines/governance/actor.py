"""Who acts, as the audit log has it. What they did is in `pipelines.governance.audit`."""

from __future__ import annotations

import os
from contextvars import ContextVar

from core.errors import HeadraceError

LONGEST = 200
_claimed: ContextVar[str | None] = ContextVar("claimed", default=None)


def claim(name: str | None) -> None:
    """From here on `name` acts, by its own word; None: nobody but the login. Raises HeadraceError `bad-actor`."""
    if name is not None and not (name.strip() and len(name) <= LONGEST and name.isprintable()):
        raise HeadraceError(f"a name is 1 to {LONGEST} printable characters", reason="bad-actor", remedy="Say who acts with --as NAME.")
    _claimed.set(name)


def acting() -> dict[str, str]:
    """`login`, which the operating system knows, and `as`, where somebody said who they are."""
    claimed = _claimed.get()
    return {"login": _login()} | ({} if claimed is None else {"as": claimed})


def _login() -> str:
    """Not what LOGNAME or USER say: those are anybody's to set."""
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"
