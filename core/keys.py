"""What a stage may do with a tenant's data key without seeing it. `privacy.encryption` implements it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True)
class Surrogates:
    """The key that a tenant's surrogates are made with. Epoch 0's is derived from the data key; a later one is random, and `wrapped`.

    `rotated_at`: since when the previous epoch's key is kept too, because data made with it is left. `former`: that key, wrapped; None if
    it is the derived one.
    """

    epoch: int = 0
    wrapped: bytes | None = field(default=None, repr=False)
    former: bytes | None = field(default=None, repr=False)
    rotated_at: datetime | None = None


class TenantKeys(Protocol):
    """A tenant's derived keys.

    `seal` and `open` are authenticated encryption bound to `context` (a payload moved elsewhere does not open).
    `digest` is a keyed hash: 32 hex characters, the same for the same value and purpose within a tenant, unlinkable across tenants.
    `surrogate_key` is the raw 32-byte key under which surrogates are computed, `epoch` its public number, counted up by each rotation.
    `former`: the same keys with the previous surrogate key, while data made with it is left.
    """

    def seal(self, plaintext: bytes, context: str) -> bytes: ...

    def open(self, sealed: bytes, context: str) -> bytes: ...

    def digest(self, value: bytes, purpose: str) -> str: ...

    @property
    def surrogate_key(self) -> bytes: ...

    @property
    def epoch(self) -> int: ...

    @property
    def former(self) -> TenantKeys | None: ...
