"""The server's doors, wired: who a credential stands for, and what a caller is answered from this installation.

Two logins of Postgres are used: the pipeline's, for keys (API keys, and the tenant's, which redact a question) and for how far a document
is; the reader's for everything that is found.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path

import msgspec

from core.config import Serve, Settings
from core.configuration_file import configuration_digest
from core.errors import TenantError
from core.tenancy import Database
from pipelines import documents
from pipelines.governance import api_keys
from pipelines.operations import explain, search
from pipelines.resources import Resources
from retrieval import documents as found
from retrieval.server import local
from retrieval.server.caller import Caller, Unauthenticated
from retrieval.server.doors import Doors, Explained, Progress
from retrieval.server.tokens import TokenRules, Tokens
from services.files import layout, private_dir, write_atomic


class Serving(Resources):
    """The resources of a server: Postgres cancels what takes longer than a request may."""

    @cached_property
    def readers(self) -> Database:
        url, serve = self.endpoints.postgres_reader.get_secret_value(), self.settings.serve
        return self._closing.enter_context(Database(url, "reader", serve.readers + 2, statement_s=serve.timeout_s))


def doors(resources: Resources, local_key: bytes) -> Doors:
    """Everything a server answers, from these resources."""
    return Doors(
        authenticate=_authenticating(resources, local_key),
        search=partial(search.answer, resources),
        document=partial(_document, resources),
        explain=partial(_explain, resources),
        related=partial(_related, resources),
        ready=partial(_ready, resources),
    )


def warm(resources: Resources) -> None:
    """Load what the first question would wait for."""
    policy = resources.settings.policy({})
    resources.models.redactor(policy.privacy).warm()
    resources.models.embedder_of(policy.embedding).encode(["warm"], "query")


def state_file(settings: Settings) -> Path:
    """Where a server of this installation says how its own user reaches it; the command line reads it (`pipelines.cli.running_server`)."""
    return layout(settings).state("serve")


@contextmanager
def announced(settings: Settings, url: str, key: bytes) -> Iterator[None]:
    """Until the block ends, programs of this user find the server at `url`."""
    path = state_file(settings)
    private_dir(path.parent)
    text = msgspec.json.encode(local.RunningServer(url, key, configuration_digest())).decode()
    write_atomic(path, text)
    try:
        yield
    finally:
        # another server may have written it since
        if path.exists() and path.read_text(encoding="utf-8") == text:
            path.unlink()


def new_local_key() -> bytes:
    return secrets.token_bytes(32)


def _authenticating(resources: Resources, local_key: bytes) -> Callable[[str], Caller]:
    tokens = _tokens(resources.settings.serve)

    def authenticate(credential: str) -> Caller:
        if credential.startswith(local.PREFIX):
            return local.caller(local_key, credential)
        if credential.startswith("hr_"):
            return _of_key(resources, credential)
        if tokens is None:
            raise Unauthenticated("the credential is not valid")
        return _of_tenant(resources, tokens.caller(credential))

    return authenticate


def _of_tenant(resources: Resources, caller: Caller) -> Caller:
    """The caller itself, if its tenant is there. An issuer's users learn of no other tenant whether it is."""
    try:
        resources.database.get(caller.tenant)
    except TenantError:
        raise Unauthenticated("the token is not valid here") from None
    return caller


def _of_key(resources: Resources, credential: str) -> Caller:
    key = api_keys.in_force(resources, credential)
    if key is None:
        raise Unauthenticated("the API key is not valid, was revoked, or has expired")
    return Caller(key.tenant, key.principals, f"key {key.key}", key.rate)


def _tokens(serve: Serve) -> Tokens | None:
    jwt = serve.jwt
    if jwt.issuer is None or jwt.audience is None or jwt.jwks_url is None:
        return None
    return Tokens(
        TokenRules(jwt.issuer, jwt.audience, jwt.jwks_url, jwt.algorithms, jwt.tenant_claim, jwt.principals, jwt.leeway_s, jwt.rate)
    )


def _opened(resources: Resources, caller: Caller) -> found.OpenReader:
    return partial(resources.readers.snapshot, caller.tenant)


def _names(resources: Resources, caller: Caller, name: str) -> list[str]:
    """The keys that a document of this id may have, and the name itself: it may be a key, or a passage's id."""
    return list(dict.fromkeys([*documents.keys_of(resources, caller.tenant, name), name]))


def _document(resources: Resources, caller: Caller, name: str, first: int, most: int) -> found.DocumentText:
    return found.text(_opened(resources, caller), _names(resources, caller, name), caller.readers, first, most)


def _related(resources: Resources, caller: Caller, name: str) -> found.Related:
    return found.related(_opened(resources, caller), _names(resources, caller, name), caller.readers)


def _explain(resources: Resources, caller: Caller, name: str) -> list[Explained]:
    origins = found.origins(_opened(resources, caller), _names(resources, caller, name), caller.readers)
    return [one for origin in origins if (one := _explained(resources, caller, origin))]


def _explained(resources: Resources, caller: Caller, origin: found.Origin) -> Explained | None:
    """What is known of a document that the caller may read: not who else may, and no count of documents that the caller may not read."""
    progress = explain.progress(resources, caller.tenant, origin.document.document_key)
    if progress is None:
        return None
    state = progress.state
    stages = [Progress(one.stage, one.status, one.updated_at) for one in progress.stages]
    return Explained(origin, progress.verdict, state.sequence, state.event_time, state.received_at, state.landed_at, stages)


def _ready(resources: Resources) -> None:
    for database in (resources.database, resources.readers):
        with database.control():
            pass
