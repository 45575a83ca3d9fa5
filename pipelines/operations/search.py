"""Search for operators: a question is redacted like the documents, embedded or cut into terms like the chunks, and run as the reader."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from core.keys import TenantKeys
from core.ledger.stage import Session
from core.principals import Principals
from pipelines.governance.surrogate_keys import searched
from pipelines.resources import Resources

if TYPE_CHECKING:
    from retrieval.request import Mode
    from retrieval.search import Passage, SearchRequest


def ask(resources: Resources, tenant: str, query: str, principals: Principals = (), top: int = 5, mode: Mode = "vector") -> list[Passage]:
    """The `top` best passages that one of `principals`, or everyone, may read; best first.

    Raises HeadraceError for a request that cannot be meant (`retrieval.request`), and what `retrieval.search` raises.
    """
    from retrieval.search import SearchRequest

    request = SearchRequest(query, principals, mode, top)
    session = resources.session(tenant)
    keys = searched(session)
    passages = _search(resources, session, request, keys)
    # a rotation may have finished in between: the question was redacted with the former key, the texts with the new one
    after = searched(session)
    return passages if after.epoch == keys.epoch else _search(resources, session, request, after)


def _search(resources: Resources, session: Session, request: SearchRequest, keys: TenantKeys) -> list[Passage]:
    from privacy import redact_text
    from retrieval.search import search

    models = resources.models
    redacted = redact_text(request.query, models.redactor(session.policy.privacy), keys)
    return search(resources.readers, models.embedder_of(session.policy.embedding), session.tenant, replace(request, query=redacted))
