"""An issuer of tokens for tests: keys of its own, published as a JWKS by a real server on loopback."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

AUDIENCE = "headrace-tests"


class Issuer:
    """Publishes `published` at `jwks_url`; `fetched` counts how often it was asked. `down`: it answers nobody."""

    def __init__(self, address: str) -> None:
        self.issuer = address
        self.jwks_url = f"{address}/jwks.json"
        self.private: dict[str, PrivateKeyTypes] = {}
        self.published: list[dict[str, Any]] = []
        self.fetched = 0
        self.down = False

    def new_key(self, kid: str, algorithm: str = "RS256") -> None:
        """Make a key, and publish it."""
        if algorithm.startswith("ES"):
            private: Any = ec.generate_private_key(ec.SECP256R1())
            public = json.loads(ECAlgorithm.to_jwk(private.public_key()))
        else:
            private = rsa.generate_private_key(65537, 2048)
            public = json.loads(RSAAlgorithm.to_jwk(private.public_key()))
        self.private[kid] = private
        self.published.append({**public, "kid": kid, "alg": algorithm, "use": "sig"})

    def claims(self, tenant: str, /, **changes: Any) -> dict[str, Any]:
        """Of a valid token, with these claims changed; None removes one."""
        now = int(time.time())
        whole = {"iss": self.issuer, "aud": AUDIENCE, "sub": "jo", "tenant": tenant, "iat": now, "exp": now + 300, **changes}
        return {name: value for name, value in whole.items() if value is not None}

    def token(self, tenant: str, /, kid: str = "one", algorithm: str = "RS256", **changes: Any) -> str:
        return jwt.encode(self.claims(tenant, **changes), self.private[kid], algorithm, headers={"kid": kid})  # type: ignore[arg-type]


@contextmanager
def running() -> Iterator[Issuer]:
    """An issuer with one key, named `one`."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.fetched += 1
            body = json.dumps({"keys": issuer.published}).encode()
            self.send_response(503 if issuer.down else 200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        issuer = Issuer(f"http://127.0.0.1:{server.server_port}")
        issuer.new_key("one")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield issuer
        finally:
            server.shutdown()
            thread.join()
