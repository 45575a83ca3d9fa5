"""Search: runs a request through the steps of retrieval."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from core.tenancy import Database
from retrieval.candidates import Candidate, CandidateGenerator, OpenReader
from retrieval.citations import Citation, Passage
from retrieval.collapse import collapse
from retrieval.fusion import fuse
from retrieval.lexical import LexicalSearch
from retrieval.request import SearchRequest
from retrieval.rerank import Reranker
from retrieval.vector import QueryEncoder, VectorSearch

__all__ = ["Citation", "Passage", "SearchRequest", "retrieve", "search"]


def search(database: Database, encoder: QueryEncoder, tenant: str, request: SearchRequest) -> list[Passage]:
    """The best passages that one of the request's principals, or everyone, may read; best first.

    `database` has a reader's login. The encoder is used in the modes with vectors alone. Raises TenantError, Unavailable, and HeadraceError
    (`model-mismatch`) if the index was built with another model than the encoder's.
    """
    generator: CandidateGenerator = LexicalSearch() if request.mode == "lexical" else VectorSearch(encoder)
    return retrieve(partial(database.snapshot, tenant), [generator], request)


def retrieve(
    open_reader: OpenReader, generators: Sequence[CandidateGenerator], request: SearchRequest, reranker: Reranker | None = None
) -> list[Passage]:
    """The best `request.top` passages of these generators, best first. Raises what they raise."""
    candidates = fuse([generator.candidates(open_reader, request) for generator in generators])
    if reranker:
        candidates = reranker.rerank(request.query, candidates)
    return [_passage(candidate) for candidate in collapse(candidates)[: request.top]]


def _passage(candidate: Candidate) -> Passage:
    return Passage(candidate.chunk, candidate.text, candidate.heading_path, candidate.score, candidate.citations)
