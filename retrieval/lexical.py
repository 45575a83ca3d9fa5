"""Candidates by BM25: passages that contain terms of the query, scored inside Postgres. `index.lexical` says what is stored.

Exact, and most passages are never looked at: a first statement scores those with the query's rarest terms; a second one those alone whose
terms could together reach the score of the last of the best so far (MaxScore: Turtle and Flood, Query evaluation: strategies and
optimizations, 1995), by the largest impact that each term has anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from core.sql import statements
from core.tenancy import Connection
from core.terms import terms
from retrieval.access import few_lists
from retrieval.candidates import Candidate, OpenReader
from retrieval.citations import cite
from retrieval.request import SearchRequest

MOST_TERMS = 48
"""Of a query, the rarest; a passage that is found by its frequent words alone is found by few of them."""
FIRST_LOOK = 2_000
"""Passages that the first statement scores, about."""
CLAUSES = 64
"""Of a pruned query, at most."""


class Weighted(msgspec.Struct, frozen=True):
    """A term of a query: its number, in how many passages it stands, its idf, and an upper bound of what it adds to a score."""

    term: str
    number: int
    passages: int
    idf: float
    bound: float


class LexicalSearch:
    """The passages with the highest BM25; the score is a fraction of what a passage with all the query's terms could have, 0 to 1."""

    def candidates(self, open_reader: OpenReader, request: SearchRequest) -> list[Candidate]:
        with open_reader() as connection:
            rows = connection.execute(_SQL["lexicon"]).fetchall()
            weighted = weighted_terms(connection, request.query, **rows[0]) if rows else []
            if not weighted:
                return []
            generation = rows[0]["generation"]
            best = _best(connection, generation, weighted, request)
            found = cite(connection, generation, list(best), request.readers, request.limit)
        total = sum(one.idf for one in weighted)
        return [Candidate(one.chunk, one.text, one.heading_path, best[one.chunk] / total, one.cited, one.parent) for one in found]


def idf(passages: int, of: int) -> float:
    """Of a term in so many passages of all: never negative."""
    return math.log(1 + (of - passages + 0.5) / (passages + 0.5))


def pruned(weighted: Sequence[Weighted], threshold: float) -> str:
    """The tsquery of every passage whose score could reach `threshold`: any of the smallest sets of terms whose bounds do together."""
    # the database adds single-precision products
    reached = threshold * (1 - 1e-5)
    ordered = sorted(weighted, key=lambda one: (-one.bound, one.term))
    clauses = []
    for clause in _smallest(ordered, reached):
        clauses.append(clause)
        if len(clauses) > CLAUSES:
            return _any(_essential(ordered, reached))
    return " | ".join("(" + " & ".join(_quoted(one.term) for one in clause) + ")" for clause in clauses)


def _smallest(ordered: Sequence[Weighted], threshold: float) -> Iterator[tuple[Weighted, ...]]:
    """The sets whose bounds reach the threshold, and do not without their last and smallest. `ordered`: by bound, the largest first."""
    for at, one in enumerate(ordered):
        if one.bound >= threshold:
            yield (one,)
        elif sum(other.bound for other in ordered[at:]) >= threshold:
            for rest in _smallest(ordered[at + 1 :], threshold - one.bound):
                yield (one, *rest)


def _essential(ordered: Sequence[Weighted], threshold: float) -> Sequence[Weighted]:
    """Without the smallest bounds that do not reach the threshold together: no passage gets there by those alone."""
    last, rest = len(ordered), 0.0
    while last and rest + ordered[last - 1].bound < threshold:
        last -= 1
        rest += ordered[last].bound
    return ordered[:last]


def _rarest(weighted: Sequence[Weighted]) -> list[Weighted]:
    found: list[Weighted] = []
    for one in sorted(weighted, key=lambda one: (one.passages, one.term)):
        if found and sum(other.passages for other in found) + one.passages > FIRST_LOOK:
            break
        found.append(one)
    return found


def weighted_terms(connection: Connection, query: str, generation: int, passages: Mapping[str, int]) -> list[Weighted]:
    """The query's terms that the generation has, stemmed by each language of its passages; the rarest of them."""
    found = terms(query)
    values = {"words": sorted(set(found.words)), "others": sorted({*found.names, *found.pairs}), "languages": sorted(passages)}
    rows = connection.execute(_SQL["terms"], {**values, "generation": generation, "most": MOST_TERMS}).fetchall()
    every = sum(passages.values())
    weights = [(row, idf(row["passages"], every)) for row in rows]
    return [Weighted(row["term"], row["number"], row["passages"], weight, weight * row["bound"]) for row, weight in weights]


def _best(connection: Connection, generation: int, weighted: Sequence[Weighted], request: SearchRequest) -> dict[str, float]:
    """Chunk → score of the best readable passages, best first."""
    few = few_lists(connection, request.readers)
    if few is not None:
        return ranked(connection, generation, weighted, request, lists=few)
    best = ranked(connection, generation, weighted, request, _any(_rarest(weighted)))
    if len(best) < request.limit:
        return ranked(connection, generation, weighted, request)
    # nothing else can reach the last of them if there is no query left
    wanted = pruned(weighted, min(best.values()))
    return ranked(connection, generation, weighted, request, wanted) if wanted else best


def ranked(
    connection: Connection,
    generation: int,
    weighted: Sequence[Weighted],
    request: SearchRequest,
    wanted: str | None = None,
    lists: Sequence[int] | None = None,
) -> dict[str, float]:
    """Chunk → score of the best readable passages, best first, of those that `wanted` matches: a tsquery, any term if there is none.

    `lists`: those of a reader of few passages (`retrieval.access`).
    """
    statement = _SQL["best" if lists is None else "best_of_few"]
    values = {"generation": generation, "query": _vector(weighted), "wanted": wanted or _any(weighted), "lists": list(lists or ())}
    rows = connection.execute(statement, {**values, "readers": request.readers, "top": request.limit})
    return {row["chunk"]: float(row["score"]) for row in rows}


def _vector(weighted: Sequence[Weighted]) -> str:
    return "{" + ",".join(f"{one.number}:{one.idf:.9g}" for one in weighted) + "}/1000000000"


def _any(weighted: Sequence[Weighted]) -> str:
    return " | ".join(_quoted(one.term) for one in weighted)


def _quoted(term: str) -> str:
    return "'" + term.replace("\\", "\\\\").replace("'", "''") + "'"


_SQL = statements("retrieval", "sql/lexical.sql")
