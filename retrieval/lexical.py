"""Search by BM25: passages that contain terms of the query, scored inside Postgres. `index.lexical` says what is stored.

Exact, and most passages are never looked at: a first statement scores those with the query's rarest terms; a second one those alone whose
terms could together reach the score of the last of the best so far (MaxScore: Turtle and Flood, Query evaluation: strategies and
optimizations, 1995), by the largest impact that each term has anywhere.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from core.sql import statements
from core.tenancy import Connection
from core.terms import terms
from retrieval.access import Scope
from retrieval.ranking import Ranked

MOST_TERMS = 48
"""Of a query, the rarest; a passage that is found by its frequent words alone is found by few of them."""
FIRST_LOOK = 2_000
"""Passages that the first statement scores, about."""
CLAUSES = 64
"""Of a pruned query, at most."""


class Weighted(msgspec.Struct, frozen=True):
    """A term of a query: its number, in how many passages it stands, its word's idf, and an upper bound of what it adds to a score.

    `part`: the idf divided by the number of terms that its word has here, of which a passage has one: its own language's.
    """

    term: str
    number: int
    passages: int
    idf: float
    bound: float
    part: float = 0.0


class Terms(msgspec.Struct, frozen=True):
    """A query's terms in a generation, the rarest of them, and the generation's passages by language. No terms if it has none of them."""

    weighted: Sequence[Weighted] = ()
    passages: Mapping[str, int] = {}

    @property
    def total(self) -> float:
        """What a passage full of the query's words could have."""
        return sum(one.part for one in self.weighted)


def query_terms(connection: Connection, generation: int, query: str) -> Terms:
    """No terms and no passages if the generation has no terms yet (`index.lexical.catch_up`)."""
    rows = connection.execute(_SQL["lexicon"], {"generation": generation}).fetchall()
    return Terms(weighted_terms(connection, query, generation, rows[0]["passages"]), rows[0]["passages"]) if rows else Terms()


def best(connection: Connection, found: Terms, scope: Scope, look: int) -> Ranked:
    """The `look` chunks of the scope with the highest BM25, or all that have a term; the score is a share, 0 to 1.

    The share is of what a passage with all the query's terms could have. Every chunk has a source that may be read and passes the filters.
    """
    if not found.weighted:
        return Ranked({}, is_all=True)
    scores = _best(connection, found.weighted, scope, look)
    return Ranked({chunk: score / found.total for chunk, score in scores.items()}, is_all=len(scores) < look)


def shares(connection: Connection, found: Terms, generation: int, chunks: Sequence[str]) -> dict[str, float]:
    """Chunk → share, as `best` has it, of those of these chunks that have a term."""
    if not found.weighted:
        return {}
    values = {"generation": generation, "query": _vector(found.weighted), "chunks": list(chunks)}
    scores = {row["chunk"]: float(row["score"]) for row in connection.execute(_SQL["impacts"], values)}
    return {chunk: score / found.total for chunk, score in scores.items() if score > 0}


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
    """The query's terms that the generation has, stemmed by each language of its passages; those of the rarest words."""
    found = terms(query)
    values = {"words": sorted(set(found.words)), "others": sorted({*found.names, *found.pairs}), "generation": generation}
    rows = connection.execute(_SQL["terms"], {**values, "languages": list(passages), "counts": list(passages.values())}).fetchall()
    every, of_word = sum(passages.values()), Counter(row["word"] for row in rows)
    rarest = sorted(rows, key=lambda row: (row["counted"], row["term"]))[:MOST_TERMS]
    weights = [idf(min(row["counted"], every), every) for row in rarest]
    return [
        Weighted(row["term"], row["number"], row["passages"], weight, weight * row["bound"], weight / of_word[row["word"]])
        for row, weight in zip(rarest, weights, strict=True)
    ]


def _best(connection: Connection, weighted: Sequence[Weighted], scope: Scope, look: int) -> dict[str, float]:
    """Chunk → score of the best passages of the scope, best first."""
    if scope.documents is not None or scope.lists is not None:
        return ranked(connection, weighted, scope, look)
    rarest = ranked(connection, weighted, scope, look, _any(_rarest(weighted)))
    if len(rarest) < look:
        return ranked(connection, weighted, scope, look)
    # nothing else can reach the last of them if there is no query left
    wanted = pruned(weighted, min(rarest.values()))
    return ranked(connection, weighted, scope, look, wanted) if wanted else rarest


def ranked(connection: Connection, weighted: Sequence[Weighted], scope: Scope, look: int, wanted: str | None = None) -> dict[str, float]:
    """Chunk → score of the best passages of the scope, best first, of those that `wanted` matches: a tsquery, any term if there is none."""
    plan = "best_of_documents" if scope.documents is not None else "best_of_few" if scope.lists is not None else "best"
    values = {**scope.values, "query": _vector(weighted), "wanted": wanted or _any(weighted), "look": look}
    return {row["chunk"]: float(row["score"]) for row in connection.execute(scope.statement(_SQL[plan]), values)}


def _vector(weighted: Sequence[Weighted]) -> str:
    return "{" + ",".join(f"{one.number}:{one.idf:.9g}" for one in weighted) + "}/1000000000"


def _any(weighted: Sequence[Weighted]) -> str:
    return " | ".join(_quoted(one.term) for one in weighted)


def _quoted(term: str) -> str:
    return "'" + term.replace("\\", "\\\\").replace("'", "''") + "'"


_SQL = statements("retrieval", "sql/lexical.sql")
