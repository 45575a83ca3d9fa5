"""Search for operators: a question is redacted like the documents, embedded or cut into terms like the chunks, and run as the reader."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from core.keys import TenantKeys
from core.ledger.stage import Session
from core.principals import Principals
from pipelines.governance.surrogate_keys import searched
from pipelines.resources import Resources

if TYPE_CHECKING:
    from privacy import Redactor
    from retrieval.answer import Answer
    from retrieval.filters import Filters
    from retrieval.request import Mode, SearchRequest

T = TypeVar("T")


def ask(
    resources: Resources, tenant: str, query: str, principals: Principals = (), top: int = 5, mode: Mode = "hybrid", **options: Any
) -> Answer:
    """The `top` best passages that one of `principals`, or everyone, may read; best first. `options`: others of `SearchRequest`.

    Raises HeadraceError for a request that cannot be meant (`retrieval.request`), and what `retrieval.search` raises.
    """
    from retrieval.request import SearchRequest

    return answer(resources, tenant, SearchRequest(query, principals, mode, top, **options))


def answer(resources: Resources, tenant: str, request: SearchRequest) -> Answer:
    """The answer to a request whose question and filters are in clear. Raises what `retrieval.search` raises."""
    from retrieval.search import search

    models = resources.models
    reranker = models.reranker if request.rerank else None

    def found(session: Session, asked: SearchRequest) -> Answer:
        return search(resources.readers, models.embedder_of(session.policy.embedding), tenant, asked, reranker)

    return _under_one_key(resources, tenant, request, found)


def documents(resources: Resources, tenant: str, request: SearchRequest, depth: int) -> list[str]:
    """The keys of the first `depth` documents, best first: as `retrieval.search.ranked_documents`, for a question in clear."""
    from retrieval.search import ranked_documents

    def found(session: Session, asked: SearchRequest) -> list[str]:
        return ranked_documents(resources.readers, resources.models.embedder_of(session.policy.embedding), tenant, asked, depth)

    return _under_one_key(resources, tenant, request, found)


def _under_one_key(resources: Resources, tenant: str, request: SearchRequest, find: Callable[[Session, SearchRequest], T]) -> T:
    """What is found for the redacted request."""
    session = resources.session(tenant)
    redactor, keys = resources.models.redactor(session.policy.privacy), searched(session)
    found = find(session, _asked(request, redactor, keys))
    # a rotation may have finished in between: the question was redacted with the former key, the texts with the new one
    after = searched(session)
    return found if after.epoch == keys.epoch else find(session, _asked(request, redactor, after))


def _asked(request: SearchRequest, redactor: Redactor, keys: TenantKeys) -> SearchRequest:
    from privacy import redact_text

    return replace(request, query=redact_text(request.query, redactor, keys), filters=_redacted(request.filters, redactor, keys))


def _redacted(filters: Filters, redactor: Redactor, keys: TenantKeys) -> Filters:
    """As the documents' own values were, so that a hidden value finds itself."""
    from privacy import redact_id, redact_labelled

    return replace(
        filters,
        sources=tuple(redact_id(source, redactor, keys) for source in filters.sources),
        path=redact_id(filters.path, redactor, keys),
        metadata={redact_id(key, redactor, keys): redact_labelled(value, key, redactor, keys) for key, value in filters.metadata.items()},
    )
