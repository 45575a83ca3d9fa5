"""Tokens: what one says counts if the issuer signed it, for us, and for now. Every attack of RFC 8725 that concerns us is tried."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Unavailable
from retrieval.server.caller import Caller, Unauthenticated
from retrieval.server.tokens import TokenRules, Tokens
from tests.retrieval.issuer import AUDIENCE, Issuer, running


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with running() as found:
        found.new_key("ec", "ES256")
        found.new_key("strong", "PS256")
        yield found


def tokens(issuer: Issuer, refresh_s: float = 10, **changes: Any) -> Tokens:
    rules: dict[str, Any] = {
        "issuer": issuer.issuer,
        "audience": AUDIENCE,
        "jwks_url": issuer.jwks_url,
        "algorithms": ("RS256", "ES256"),
        "tenant_claim": "tenant",
        "principals": {"sub": "user:", "groups": "group:"},
        "leeway_s": 30,
        "rate": 10,
    }
    return Tokens(TokenRules(**rules | changes), refresh_s=refresh_s)


def refused(tokens: Tokens, token: str) -> Unauthenticated:
    with pytest.raises(Unauthenticated) as caught:
        tokens.caller(token)
    return caught.value


def test_a_tokens_claims_are_the_tenant_and_the_principals(issuer: Issuer) -> None:
    expected = Caller("acme", ("user:jo", "group:finance", "group:board"), "token acme jo", 10)
    token = issuer.token("acme", groups=["finance", "board"])
    assert tokens(issuer).caller(token) == expected
    assert tokens(issuer).caller(issuer.token("acme", "ec", "ES256")) == Caller("acme", ("user:jo",), "token acme jo", 10)


def encoded(part: Any) -> str:
    return base64.urlsafe_b64encode(part if isinstance(part, bytes) else json.dumps(part).encode()).rstrip(b"=").decode()


def unsigned(issuer: Issuer) -> str:
    return f"{encoded({'alg': 'none', 'kid': 'one', 'typ': 'JWT'})}.{encoded(issuer.claims('acme'))}."


def signed_with_the_public_key(issuer: Issuer) -> str:
    public = issuer.private["one"].public_key()
    secret = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    text = f"{encoded({'alg': 'HS256', 'kid': 'one', 'typ': 'JWT'})}.{encoded(issuer.claims('acme'))}"
    return f"{text}.{encoded(hmac.digest(secret, text.encode(), sha256))}"


def signed_by_another(issuer: Issuer) -> str:
    stranger = rsa.generate_private_key(65537, 2048)
    return jwt.encode(issuer.claims("acme"), stranger, "RS256", headers={"kid": "one", "jku": "http://127.0.0.1:1/jwks.json"})


def changed_after_signing(issuer: Issuer) -> str:
    header, _, signature = issuer.token("acme").split(".")
    return f"{header}.{encoded(issuer.claims('globex'))}.{signature}"


def without_kid(issuer: Issuer) -> str:
    return jwt.encode(issuer.claims("acme"), issuer.private["one"], "RS256")  # type: ignore[arg-type]


ATTACKS: dict[str, Callable[[Issuer], str]] = {
    "no algorithm": unsigned,
    "the public key as a secret": signed_with_the_public_key,
    "another's key under our kid": signed_by_another,
    "changed after signing": changed_after_signing,
    "no kid": without_kid,
    "unknown kid": lambda issuer: jwt.encode(issuer.claims("acme"), issuer.private["one"], "RS256", headers={"kid": "?"}),  # type: ignore[arg-type]
    "an algorithm that is not allowed": lambda issuer: issuer.token("acme", "strong", "PS256"),
    "an algorithm that the key is not for": lambda issuer: issuer.token("acme", "one", "PS256"),
    "expired": lambda issuer: issuer.token("acme", exp=int(time.time()) - 31),
    "never expires": lambda issuer: issuer.token("acme", exp=None),
    "not valid yet": lambda issuer: issuer.token("acme", nbf=int(time.time()) + 60),
    "issued in the future": lambda issuer: issuer.token("acme", iat=int(time.time()) + 60),
    "for others": lambda issuer: issuer.token("acme", aud="another"),
    "for nobody": lambda issuer: issuer.token("acme", aud=None),
    "of another issuer": lambda issuer: issuer.token("acme", iss="https://evil.example.com"),
    "of no issuer": lambda issuer: issuer.token("acme", iss=None),
    "of nobody": lambda issuer: issuer.token("acme", sub=None),
    "no tenant": lambda issuer: issuer.token("acme", tenant=None),
    "two tenants": lambda issuer: issuer.token("acme", tenant=["acme", "globex"]),
    "no tenant's name": lambda issuer: issuer.token('acme"; DROP'),
    "groups that are a mapping": lambda issuer: issuer.token("acme", groups={"board": True}),
    "groups that are numbers": lambda issuer: issuer.token("acme", groups=[1]),
    "a principal that cannot be": lambda issuer: issuer.token("acme", groups=["\0"]),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_what_the_issuer_did_not_sign_for_us_and_for_now_is_refused(issuer: Issuer, attack: Callable[[Issuer], str]) -> None:
    token = attack(issuer)
    assert token not in str(refused(tokens(issuer), token))


@given(text=st.text() | st.binary().map(lambda data: f"e30.{encoded(data)}.e30"))
def test_no_text_is_taken_for_a_token(issuer: Issuer, text: str) -> None:
    refused(tokens(issuer), text)


def test_clocks_may_differ_by_the_leeway(issuer: Issuer) -> None:
    now = int(time.time())
    assert tokens(issuer).caller(issuer.token("acme", exp=now - 20, nbf=now + 20, iat=now + 20)).tenant == "acme"


def test_a_new_key_is_found_and_a_withdrawn_one_is_not() -> None:
    with running() as issuer:
        found = tokens(issuer, refresh_s=0)
        assert found.caller(issuer.token("acme")).tenant == "acme"
        issuer.new_key("two")
        issuer.published.pop(0)
        assert found.caller(issuer.token("acme", "two")).tenant == "acme"
        refused(found, issuer.token("acme", "one"))


def test_unknown_kids_have_the_keys_fetched_once_in_a_while() -> None:
    with running() as issuer:
        found = tokens(issuer)
        found.caller(issuer.token("acme"))
        for number in range(20):
            refused(found, jwt.encode(issuer.claims("acme"), issuer.private["one"], "RS256", headers={"kid": str(number)}))  # type: ignore[arg-type]
        assert issuer.fetched <= 2


def test_an_issuer_that_does_not_answer_is_no_refusal() -> None:
    with running() as issuer:
        issuer.down = True
        with pytest.raises(Unavailable):
            tokens(issuer).caller(issuer.token("acme"))
