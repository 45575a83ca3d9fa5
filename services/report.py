"""The status of a server, as `headrace status` shows it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class ServiceStatus:
    """One server's status.

    `up`: embedded and accepting connections. `starting`: embedded and running, but not accepting connections. `external`: given by URL and
    not checked. `address` is host:port, without a password. `pid`, `log` and `memory_bytes` (resident, including child processes) are None
    unless the server is embedded.
    """

    name: str
    state: Literal["up", "starting", "down", "external"]
    address: str | None = None
    version: str | None = None
    pid: int | None = None
    log: Path | None = None
    memory_bytes: int | None = None
