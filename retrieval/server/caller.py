"""Who asks: what a credential says, and nothing else can."""

from __future__ import annotations

import msgspec

from core.errors import HeadraceError
from core.principals import EVERYONE


class Caller(msgspec.Struct, frozen=True):
    """A tenant, principals, and how much they may ask. `name`: of the credential, by which requests are counted: no secret."""

    tenant: str
    principals: tuple[str, ...]
    name: str
    rate: float

    @property
    def readers(self) -> list[str]:
        """The principals with `EVERYONE`, sorted."""
        return sorted({*self.principals, EVERYONE})


class Unauthenticated(HeadraceError):
    """No credential, or one that is not valid. Says no more than that: which part is wrong helps only who guesses."""

    reason = "unauthenticated"
    remedy = "Send `Authorization: Bearer` with an API key, or with a token of the configured issuer."
