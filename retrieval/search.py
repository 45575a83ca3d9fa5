"""Search: runs a request through the steps of retrieval."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from msgspec.structs import replace

from core.tenancy import Database
from retrieval.candidates import CandidateGenerator, OpenReader
from retrieval.citations import Citation, Passage
from retrieval.collapse import Collapse, collapse, passage
from retrieval.fusion import fuse
from retrieval.lexical import LexicalSearch
from retrieval.parents import once
from retrieval.request import SearchRequest
from retrieval.rerank import Reranker
from retrieval.vector import QueryEncoder, VectorSearch

__all__ = ["Citation", "Passage", "SearchRequest", "retrieve", "search"]

SPARE = 15
"""Candidates beyond those that are asked for, at least."""
MOST_CANDIDATES = 4_000


def search(database: Database, encoder: QueryEncoder, tenant: str, request: SearchRequest) -> list[Passage]:
    """The best passages that one of the request's principals, or everyone, may read; best first, one of each cluster of near-duplicates.

    `database` has a reader's login. The encoder is used in the modes with vectors alone. Raises TenantError, Unavailable, and HeadraceError
    (`model-mismatch`) if the index was built with another model than the encoder's.
    """
    generator: CandidateGenerator = LexicalSearch() if request.mode == "lexical" else VectorSearch(encoder)
    return retrieve(partial(database.snapshot, tenant), [generator], request, collapse=collapse)


def retrieve(
    open_reader: OpenReader,
    generators: Sequence[CandidateGenerator],
    request: SearchRequest,
    reranker: Reranker | None = None,
    collapse: Collapse | None = None,
) -> list[Passage]:
    """The best `request.top` passages of these generators, best first. Raises what they raise.

    More candidates are generated while too few are left of those that there are, up to `MOST_CANDIDATES`.
    """
    depth = request.top + (max(request.top, SPARE) if collapse else 0)
    while True:
        asked = replace(request, depth=depth)
        lists = [generator.candidates(open_reader, asked) for generator in generators]
        candidates = once(fuse(lists))
        if reranker:
            candidates = reranker.rerank(request.query, candidates)
        passages = collapse(open_reader, request, candidates) if collapse else [passage(candidate) for candidate in candidates]
        is_all = all(len(found) < depth for found in lists) or depth >= MOST_CANDIDATES
        if len(passages) >= request.top or is_all:
            return passages[: request.top]
        depth *= 4
