"""Credentials of this machine's own: the command line, of whoever may read the server's file, states the tenant and the principals.

Signed with a key that the server made at its start and wrote where only its own user can read it. Whoever can read that can open the
database too.
"""

from __future__ import annotations

import base64
import hmac
from pathlib import Path
from time import time

import msgspec

from retrieval.server.caller import Caller, Unauthenticated

PREFIX = "hr_local_"
VALID_S = 30
RATE = 100_000.0
"""Requests a second: as many as there can be."""


class RunningServer(msgspec.Struct, frozen=True):
    """What a server writes for programs of its own user. `configuration`: `core.configuration_file.configuration_digest` at its start."""

    url: str
    key: bytes
    configuration: str


def read(path: Path) -> RunningServer | None:
    """What a server has written there; None if none has, or if it cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunningServer)
    except (OSError, msgspec.DecodeError):
        return None


class _Claims(msgspec.Struct):
    tenant: str
    principals: tuple[str, ...]
    until: float


def signed(key: bytes, tenant: str, principals: tuple[str, ...]) -> str:
    """A credential for the next `VALID_S` seconds."""
    claims = msgspec.json.encode(_Claims(tenant, principals, time() + VALID_S))
    return f"{PREFIX}{_encoded(claims)}.{_encoded(hmac.digest(key, claims, 'sha256'))}"


def caller(key: bytes, credential: str) -> Caller:
    """Raises Unauthenticated."""
    try:
        claims, seal = (base64.urlsafe_b64decode(part) for part in credential.removeprefix(PREFIX).split("."))
        is_ours = hmac.compare_digest(seal, hmac.digest(key, claims, "sha256"))
        found = msgspec.json.decode(claims, type=_Claims) if is_ours else None
    except (ValueError, msgspec.DecodeError):
        found = None
    if found is None or found.until < time():
        raise Unauthenticated("the local credential is not valid, or has expired")
    return Caller(found.tenant, found.principals, "local", RATE)


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()
