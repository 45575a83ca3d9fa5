"""Search: runs a request through the steps of retrieval."""

from __future__ import annotations

from time import perf_counter

from msgspec.structs import replace
from pgvector import HalfVector

from core import instructions
from core.tenancy import Connection, Database
from retrieval import cursor, diversity, fusion, lexical, vector
from retrieval.access import Scope, scope, undescribed
from retrieval.answer import Answer
from retrieval.citations import Citation, Passage
from retrieval.collapse import related
from retrieval.document_ranking import documents
from retrieval.expansion import expanded
from retrieval.filters import Filters
from retrieval.fusion import Scored, Weighing
from retrieval.hybrid import Hybrid
from retrieval.matched import matched
from retrieval.pages import Page, page, readable
from retrieval.ranking import Rank, Ranked, Ranking
from retrieval.request import SearchRequest
from retrieval.rerank import Reranker, relevance, rerank
from retrieval.vector import Generation, QueryEncoder, active_generation

__all__ = ["Answer", "Citation", "Filters", "Passage", "SearchRequest", "ranked_documents", "search"]


def search(database: Database, encoder: QueryEncoder, tenant: str, request: SearchRequest, reranker: Reranker | None = None) -> Answer:
    """The best passages that one of the request's principals, or everyone, may read; best first, one of each cluster of near-duplicates.

    `database` has a reader's login. The encoder is used in the modes with vectors alone, the reranker if the request asks for it. All
    statements after the question is embedded see the same state. Raises TenantError, Unavailable, and HeadraceError: `model-mismatch` if
    the index was built with another model than the encoder's, `bad-cursor` if the cursor belongs to another request or index.
    """
    started = perf_counter()
    query = _vector(database, encoder, tenant, request)
    with database.snapshot(tenant) as connection:
        # another generation may have been promoted in the meantime
        generation = active_generation(connection, encoder.identity if request.by_meaning else None)
        if generation is None:
            return Answer((), request.mode)
        after = cursor.read(tenant, generation.generation, request)
        within = scope(connection, generation.generation, request.readers, request.filters)
        rank, weighing = _ranking(connection, generation, within, request, query)
        found = page(connection, within, rank, _look(request, reranker), after, request.least)
        passages = _told(connection, within, request, found)
        vectors = diversity.vectors(connection, generation.generation, passages) if request.diversity else {}
        lacking = undescribed(connection, within)
    # a model or a server takes its time: no transaction is open meanwhile
    passages, reranked = rerank(reranker, request, passages)
    if request.diversity:
        passages = diversity.diverse(passages, relevance(passages), vectors, request.diversity)
    return Answer(
        tuple(passages[: request.top]),
        request.mode,
        _next(tenant, generation, request, found),
        generation.generation,
        generation.model_name,
        weighing.weight if weighing else None,
        perf_counter() - started,
        reranked,
        lacking,
    )


def ranked_documents(database: Database, encoder: QueryEncoder, tenant: str, request: SearchRequest, depth: int) -> list[str]:
    """The keys of the first `depth` documents that `search` finds, best first, each at its best passage's place, for an evaluation.

    Near-duplicates are not collapsed: a document that is shown inside another one's passage was found. Raises as `search` does.
    """
    query = _vector(database, encoder, tenant, request)
    with database.snapshot(tenant) as connection:
        generation = active_generation(connection, encoder.identity if request.by_meaning else None)
        if generation is None:
            return []
        within = scope(connection, generation.generation, request.readers, request.filters)
        rank, _ = _ranking(connection, generation, within, request, query)
        return documents(lambda look: readable(connection, within, rank(look), look), depth)


def _look(request: SearchRequest, reranker: Reranker | None) -> int:
    """How many passages are read: those that are reordered are more than those that are shown."""
    of_reranker = reranker.candidates if reranker and request.rerank else 0
    return max(request.top, of_reranker, diversity.LOOK if request.diversity else 0)


def _told(connection: Connection, within: Scope, request: SearchRequest, found: Page) -> list[Passage]:
    """The passages of a page with everything that the request asks about each."""
    passages = related(connection, within, found.shown, found.candidates, found.clusters)
    passages = expanded(connection, within.generation, passages, request.expand)
    passages = [replace(one, instructions=instructions.score("\n".join((*one.heading_path, one.shown)))) for one in passages]
    if not request.explain:
        return passages
    return matched(connection, within.generation, passages, lexical.query_terms(connection, within.generation, request.query))


def _vector(database: Database, encoder: QueryEncoder, tenant: str, request: SearchRequest) -> str:
    """The question's vector as pgvector's text; empty if the mode takes none, or if nothing is indexed. No transaction is open
    meanwhile."""
    if not request.by_meaning:
        return ""
    with database.snapshot(tenant) as connection:
        if active_generation(connection, encoder.identity) is None:
            return ""
    return str(HalfVector(encoder.encode([request.query], "query")[0]).to_text())


def _ranking(
    connection: Connection, generation: Generation, within: Scope, request: SearchRequest, query: str
) -> tuple[Rank, Weighing | None]:
    """What ranks chunks for this request, and how it adds the two scores of mode `hybrid`."""
    if request.mode == "vector":
        return lambda number: _cosines(vector.nearest(connection, generation, query, within, number)), None
    terms = lexical.query_terms(connection, generation.generation, request.query)
    if request.mode == "lexical":
        return lambda number: _shares(lexical.best(connection, terms, within, number)), None
    weight = fusion.default_weight(generation.model_name, terms.passages) if request.weight is None else request.weight
    weighing = Weighing(weight, vector.mean(connection, generation.generation))
    both = Hybrid(connection, generation, query, terms, within, weighing)
    return both.by_scores if request.fusion == "scores" else both.by_ranks, weighing


def _cosines(ranked: Ranked) -> Ranking:
    return _of_one_score([Scored(chunk, score, cosine=score) for chunk, score in ranked.scores.items()], ranked)


def _shares(ranked: Ranked) -> Ranking:
    return _of_one_score([Scored(chunk, score, bm25=score) for chunk, score in ranked.scores.items()], ranked)


def _of_one_score(chunks: list[Scored], ranked: Ranked) -> Ranking:
    chunks.sort(key=lambda one: one.place)
    return Ranking(chunks, None if ranked.is_all or not chunks else chunks[-1].place)


def _next(tenant: str, generation: Generation, request: SearchRequest, found: Page) -> str:
    if not found.more or request.reorders:
        return ""
    last = found.shown[-1]
    return cursor.write(tenant, generation.generation, request, cursor.Position(found.before + len(found.shown), last.score, last.chunk))
