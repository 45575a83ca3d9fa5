"""A question, as a RAG application asks it: redacted like the documents, embedded like the chunks, searched as the tenant's reader."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from core.errors import HeadraceError
from core.keys import TenantKeys
from pipelines.governance.surrogate_keys import searched
from pipelines.resources import Resources

if TYPE_CHECKING:
    from retrieval.search import Passage


def ask(resources: Resources, tenant: str, query: str, principals: Sequence[str] = (), top: int = 5) -> list[Passage]:
    """The `top` nearest passages that one of `principals`, or everyone, may read; best first.

    Raises HeadraceError `bad-query` for an empty question, and what `retrieval.search` raises.
    """
    from privacy import redact_text
    from retrieval.search import search

    if not query.strip():
        raise HeadraceError("the question is empty", reason="bad-query", remedy="Ask for something.")
    session, models = resources.session(tenant), resources.models

    def found(keys: TenantKeys) -> list[Passage]:
        redacted = redact_text(query, models.redactor(session.policy.privacy), keys)
        return search(resources.readers, models.embedder, tenant, redacted, principals=principals, top=top)

    keys = searched(session)
    passages = found(keys)
    # a rotation may have switched in between: the question stood under the former key beside texts under the new one
    after = searched(session)
    return passages if after.epoch == keys.epoch else found(after)
