"""Pages: of a ranking, the passages that one answer shows: those that may be read, one of each cluster, after the place where the page
before it ended."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from core.tenancy import Connection
from retrieval.access import Scope
from retrieval.candidates import Candidate
from retrieval.citations import Passage, Scores, cite
from retrieval.collapse import Clusters, chosen, clusters_of
from retrieval.cursor import Position
from retrieval.parents import once
from retrieval.ranking import Rank, Ranking

SPARE = 15
"""Candidates beyond those that are asked for, at least: some become one passage."""
MOST_CANDIDATES = 4_000


class Page(msgspec.Struct, frozen=True):
    """`shown`: best first. `before`: the number of passages before them. `more`: whether there are others after them.

    `candidates`, `clusters`: what they were chosen from.
    """

    shown: Sequence[Passage]
    before: int
    more: bool
    candidates: Sequence[Candidate]
    clusters: Clusters


def page(connection: Connection, scope: Scope, rank: Rank, top: int, after: Position | None = None, least: float | None = None) -> Page:
    """The best `top` passages of the ranking after a position, with a score of `least` at least.

    More of the ranking is read while too few passages are left of it, up to `MOST_CANDIDATES` candidates.
    """
    wanted = top + (after.passages if after else 0)
    look = wanted + max(wanted, SPARE)
    while True:
        look = min(look, MOST_CANDIDATES)
        candidates, floor = readable(connection, scope, rank(look), look)
        clusters = clusters_of(connection, scope.generation, candidates)
        passages = chosen(candidates, clusters)
        is_last = floor is None or look == MOST_CANDIDATES
        known = passages if is_last else [one for one in passages if one.place <= floor]  # type: ignore[operator]
        start = _start(known, after)
        found = [one for one in known[start:] if least is None or one.score >= least]
        if len(found) > top or is_last or len(found) < len(known) - start:
            before = after.passages if after else 0
            return Page(found[:top], before, len(found) > top, candidates, clusters)
        look *= 4


def readable(connection: Connection, scope: Scope, ranking: Ranking, look: int) -> tuple[list[Candidate], tuple[float, str] | None]:
    """The best `look` chunks that have a source in the scope, and the place down to which none is missing; None if none is."""
    scored = {one.chunk: one for one in ranking.chunks}
    found = cite(connection, scope, list(scored), look)
    candidates = []
    for one in found:
        own = scored[one.chunk]
        parts = Scores(own.cosine, own.calibrated, own.bm25)
        candidates.append(Candidate(one.chunk, one.text, one.heading_path, own.score, one.cited, one.parent, parts))
    floor = candidates[-1].place if len(candidates) == look else ranking.floor
    return once(candidates), floor


def _start(known: Sequence[Passage], after: Position | None) -> int:
    """Where the passages after the position begin: after its chunk, or after its place if the chunk is gone."""
    if after is None:
        return 0
    for at, one in enumerate(known, 1):
        if one.chunk == after.chunk:
            return at
    return sum(one.place <= after.place for one in known)
