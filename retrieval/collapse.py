"""Collapse: of the candidates in one cluster of near-duplicates, the best stands for all, and lists the others with what differs.

Only members that the caller may read are candidates or listed, so that where one may not be read, another stands in. Boilerplate is a
cluster that stands in a large share of the tenant's documents, whoever may read them; the tenant's settings say what becomes of it.
Containment collapses nothing: it is reported among what was found.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from core import shingles
from core.differences import difference
from core.sql import statements
from core.tenancy import Connection
from retrieval.candidates import Candidate, OpenReader
from retrieval.citations import Alike, Containing, Passage, citations
from retrieval.request import SearchRequest

LISTED = 5
"""Near-duplicates of a passage that are listed."""
COUNTED = 1_000
"""Near-duplicates of a passage that are looked at."""
CONTAINED = 0.8
"""The share of a passage's shingles that a longer one must have to contain it."""
BOILERPLATE_SHARE, BOILERPLATE_DOCUMENTS = 0.05, 20
"""A cluster is boilerplate that stands in more than this share of the tenant's documents, and in as many at least."""

Collapse = Callable[[OpenReader, SearchRequest, Sequence[Candidate]], list[Passage]]


class Clusters(msgspec.Struct, frozen=True):
    """What is known of candidates: chunk → pivot of its cluster, the pivots of boilerplate, and what the tenant's settings do with it."""

    pivots: Mapping[str, str] = {}
    boilerplate: Collection[str] = ()
    setting: Literal["mark", "down-weight", "leave-out"] = "mark"

    def pivot(self, candidate: Candidate) -> str:
        return self.pivots.get(candidate.chunk, candidate.chunk)


def collapse(open_reader: OpenReader, request: SearchRequest, candidates: Sequence[Candidate]) -> list[Passage]:
    """One passage of each cluster, best first, `request.top` at most."""
    if not candidates:
        return []
    with open_reader() as connection:
        clusters = _clusters(connection, candidates)
        shown = chosen(candidates, clusters)[: request.top]
        alike = _alike(connection, request, {one.chunk: clusters.pivots.get(one.chunk, one.chunk) for one in shown})
    return _related(shown, alike, candidates, clusters)


def chosen(candidates: Sequence[Candidate], clusters: Clusters) -> list[Passage]:
    """The best candidate of each cluster, best first, as `clusters.setting` has it.

    What is down-weighted has half its score. What is left out is counted by the passage after it; if nothing else was found, nothing is
    left out.
    """
    best: dict[str, Passage] = {}
    for candidate in candidates:
        pivot = clusters.pivot(candidate)
        best.setdefault(pivot, replace(passage(candidate), boilerplate=pivot in clusters.boilerplate))
    found = list(best.values())
    if clusters.setting == "down-weight":
        return sorted((_down_weighted(one) if one.boilerplate else one for one in found), key=lambda one: -one.score)
    return (_without_boilerplate(found) or found) if clusters.setting == "leave-out" else found


def passage(candidate: Candidate) -> Passage:
    return Passage(candidate.chunk, candidate.text, candidate.heading_path, candidate.score, candidate.citations)


def _down_weighted(one: Passage) -> Passage:
    return replace(one, score=one.score / 2 if one.score > 0 else one.score * 2)


def _without_boilerplate(found: Sequence[Passage]) -> list[Passage]:
    kept, left_out = list[Passage](), 0
    for one in found:
        if one.boilerplate:
            left_out += 1
        else:
            kept.append(replace(one, left_out=left_out))
            left_out = 0
    return kept


def _clusters(connection: Connection, candidates: Sequence[Candidate]) -> Clusters:
    chunks = [candidate.chunk for candidate in candidates]
    pivots = {row["chunk"]: row["pivot"] for row in connection.execute(_SQL["clusters"], {"chunks": chunks})}
    values = {"pivots": sorted({*chunks, *pivots.values()} - pivots.keys()), "least": BOILERPLATE_DOCUMENTS, "share": BOILERPLATE_SHARE}
    boilerplate = frozenset(row["pivot"] for row in connection.execute(_SQL["boilerplate"], values))
    settings = connection.execute(_SQL["setting"]).fetchall()
    return Clusters(pivots, boilerplate, settings[0]["boilerplate"] if settings else "mark")


def _alike(connection: Connection, request: SearchRequest, pivots: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
    """Of each chunk, the other members of its cluster that may be read, as rows. `pivots`: of its cluster."""
    values = {"shown": list(pivots), "pivots": list(pivots.values()), "readers": request.readers, "listed": LISTED, "counted": COUNTED}
    found: dict[str, list[dict[str, Any]]] = {chunk: [] for chunk in pivots}
    for row in connection.execute(_SQL["alike"], values):
        found[row["shown"]].append(row)
    return found


def _related(
    shown: Sequence[Passage], alike: Mapping[str, Sequence[dict[str, Any]]], candidates: Sequence[Candidate], clusters: Clusters
) -> list[Passage]:
    cut = {one.chunk: shingles.shingles(shingles.normalised(one.text), shingles.CONTAINED_SHINGLE) for one in candidates}
    related = []
    for one in shown:
        rows = alike[one.chunk]
        pivot = clusters.pivots.get(one.chunk, one.chunk)
        within = (_containing(cut[one.chunk], other, cut[other.chunk]) for other in candidates if clusters.pivot(other) != pivot)
        related.append(
            replace(
                one,
                alike=tuple(_member(one, row) for row in rows),
                more_alike=rows[0]["members"] - len(rows) if rows else 0,
                within=tuple(other for other in within if other),
            )
        )
    return related


def _member(shown: Passage, row: Mapping[str, Any]) -> Alike:
    text = row["text"]
    similarity = shingles.similarity(shown.text, text)
    return Alike(row["chunk"], tuple(row["heading_path"]), similarity, difference(shown.text, text), citations(row["cited"]))


def _containing(wanted: frozenset[str], other: Candidate, there: frozenset[str]) -> Containing | None:
    if len(there) <= len(wanted):
        return None
    share = len(wanted & there) / len(wanted)
    return Containing(other.chunk, other.heading_path, share, other.citations) if share >= CONTAINED else None


_SQL = statements("retrieval", "sql/collapse.sql")
