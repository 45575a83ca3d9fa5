"""JSON Web Tokens of an issuer that a tenant's users sign in to (RFC 7519, 8725), verified with the issuer's published keys (JWKS).

Signatures are of asymmetric algorithms alone, those that the configuration names, and a key verifies only what it was made for: a token
that says `none`, or that takes the public key for an HMAC's secret, is refused. Where keys are fetched from is configured, whatever a token
says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import jwt
import msgspec
from jwt import PyJWKClient, PyJWKClientConnectionError

from core.errors import HeadraceError, Unavailable
from core.principals import principals
from core.tenancy import valid_tenant
from retrieval.server.caller import Caller, Unauthenticated

KEYS_S: Final = 300
"""A key that the issuer has withdrawn is accepted for this long."""
REFRESH_S: Final = 10
"""A token with an unknown `kid` has the keys fetched again, this often at most."""
FETCH_S: Final = 5


class TokenRules(msgspec.Struct, frozen=True):
    """What a token has to be. `principals`: claim → what comes before its value, or before each of its values, such as `group:`.

    `rate`: requests a second of one subject.
    """

    issuer: str
    audience: str
    jwks_url: str
    algorithms: tuple[str, ...]
    tenant_claim: str
    principals: Mapping[str, str]
    leeway_s: float
    rate: float


class Tokens:
    """Threads may share it. Fetches no key before the first token."""

    def __init__(self, rules: TokenRules, *, refresh_s: float = REFRESH_S) -> None:
        self._rules = rules
        self._keys = PyJWKClient(rules.jwks_url, lifespan=KEYS_S, timeout=FETCH_S, cooldown_duration=refresh_s)

    def caller(self, token: str) -> Caller:
        """Raises Unauthenticated, and Unavailable if the issuer's keys cannot be fetched."""
        try:
            return self._caller(self._claims(token))
        except PyJWKClientConnectionError:
            raise Unavailable("the keys of the tokens' issuer cannot be fetched") from None
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("the token has expired", remedy="Get a new one.") from None
        except (jwt.PyJWTError, HeadraceError, ValueError, TypeError, RecursionError):
            raise Unauthenticated("the token is not valid here") from None

    def _claims(self, token: str) -> dict[str, Any]:
        rules = self._rules
        return jwt.decode(
            token,
            self._keys.get_signing_key_from_jwt(token),
            algorithms=list(rules.algorithms),
            audience=rules.audience,
            issuer=rules.issuer,
            leeway=rules.leeway_s,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )

    def _caller(self, claims: Mapping[str, Any]) -> Caller:
        rules = self._rules
        tenant = valid_tenant(_text(claims.get(rules.tenant_claim)))
        found = [f"{before}{value}" for claim, before in rules.principals.items() for value in _texts(claims.get(claim))]
        return Caller(tenant, tuple(principals(found)), f"token {tenant} {claims['sub']}", rules.rate)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _texts(value: object) -> Iterable[str]:
    """The values of a claim: one text, a list of them, or none."""
    if value is None:
        return []
    return [_text(one) for one in value] if isinstance(value, list) else [_text(value)]
