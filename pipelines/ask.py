"""A question, as a RAG application asks it: redacted like the documents, embedded like the chunks, searched as the tenant's reader."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.app import Headrace

if TYPE_CHECKING:
    from retrieval.search import Passage


def ask(headrace: Headrace, tenant: str, query: str, principals: Sequence[str] = (), top: int = 5) -> list[Passage]:
    """The `top` nearest passages that one of `principals`, or everyone, may read; best first."""
    from privacy import redact_text
    from retrieval.search import search

    session, models = headrace.session(tenant), headrace.models
    redacted = redact_text(query, models.redactor, session.keys)
    return search(headrace.readers, models.embedder, tenant, redacted, principals=principals, top=top)
