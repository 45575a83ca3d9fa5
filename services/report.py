"""What `headrace status` shows of a server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class ServiceStatus:
    """One server. `up`: ours, and answering; `starting`: ours, not answering yet or no more; `external`: given by URL, not asked.

    `address` is host:port, without any password. `pid`, `log` and `memory_bytes` (resident, children included) are null unless it is ours.
    """

    name: str
    state: Literal["up", "starting", "down", "external"]
    address: str | None = None
    version: str | None = None
    pid: int | None = None
    log: Path | None = None
    memory_bytes: int | None = None
