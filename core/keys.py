"""What a stage may do with a tenant's data key, without ever holding it. `privacy.encryption` implements it."""

from __future__ import annotations

from typing import Protocol


class TenantKeys(Protocol):
    """A tenant's derived keys.

    `seal` and `open` are authenticated encryption bound to `context` (a payload moved elsewhere does not open).
    `digest` is a keyed hash: 32 hex characters, the same for the same value and purpose within a tenant, unlinkable across tenants.
    `surrogate_key` is the raw 32-byte key under which surrogates are computed.
    """

    def seal(self, plaintext: bytes, context: str) -> bytes: ...

    def open(self, sealed: bytes, context: str) -> bytes: ...

    def digest(self, value: bytes, purpose: str) -> str: ...

    @property
    def surrogate_key(self) -> bytes: ...
