"""Collapse: of the candidates in one cluster of near-duplicates, the best stands for all, and lists the others with what differs.

Only members that the caller may read are candidates or listed, so that where one may not be read, another stands in. Boilerplate is a
cluster that stands in a large share of the tenant's documents, whoever may read them; the tenant's settings say what becomes of it.
Containment collapses nothing: it is reported among what was found.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from core import shingles
from core.differences import difference
from core.sql import statements
from core.tenancy import Connection
from retrieval.access import Scope
from retrieval.candidates import Candidate
from retrieval.citations import Alike, Cited, Containing, Passage, cite

LISTED = 5
"""Near-duplicates of a passage that are listed."""
COUNTED = 1_000
"""Near-duplicates of a passage that are looked at."""
CONTAINED = 0.8
"""The share of a passage's shingles that a longer one must have to contain it."""
BOILERPLATE_SHARE, BOILERPLATE_DOCUMENTS = 0.05, 20
"""A cluster is boilerplate that stands in more than this share of the tenant's documents, and in as many at least."""

Setting = Literal["mark", "down-weight", "leave-out"]


class Clusters(msgspec.Struct, frozen=True):
    """What is known of candidates: chunk → pivot of its cluster, the pivots of boilerplate, and what the tenant's settings do with it."""

    pivots: Mapping[str, str] = {}
    boilerplate: Collection[str] = ()
    setting: Setting = "mark"

    def pivot(self, chunk: str) -> str:
        return self.pivots.get(chunk, chunk)


class Members(msgspec.Struct, frozen=True):
    """The other members of a passage's cluster that may be read, some of them, and how many there are."""

    listed: Sequence[Cited] = ()
    number: int = 0


def clusters_of(connection: Connection, generation: int, candidates: Sequence[Candidate]) -> Clusters:
    """What is known of these candidates. Nothing is if the generation has no near-duplicates yet."""
    rules = connection.execute(_SQL["rules"], {"generation": generation}).fetchall()
    return _clusters(connection, candidates, generation, rules[0]["boilerplate"]) if rules and candidates else Clusters()


def related(
    connection: Connection, scope: Scope, shown: Sequence[Passage], candidates: Sequence[Candidate], clusters: Clusters
) -> list[Passage]:
    """The passages with the other members of their clusters, and with the candidates that contain them."""
    if not shown:
        return []
    members = _members(connection, scope, shown, clusters)
    cut = {one.chunk: shingles.shingles(shingles.normalised(one.text), shingles.CONTAINED_SHINGLE) for one in candidates}
    return [_related(one, members.get(one.chunk, Members()), _containing(one, candidates, cut, clusters)) for one in shown]


def chosen(candidates: Sequence[Candidate], clusters: Clusters) -> list[Passage]:
    """The best candidate of each cluster, best first, as `clusters.setting` has it.

    What is down-weighted has half its score. What is left out is counted by the passage after it; if nothing else was found, nothing is
    left out.
    """
    best: dict[str, Passage] = {}
    for candidate in candidates:
        pivot = clusters.pivot(candidate.chunk)
        best.setdefault(pivot, replace(passage(candidate), boilerplate=pivot in clusters.boilerplate))
    found = list(best.values())
    if clusters.setting == "down-weight":
        return sorted((_down_weighted(one) if one.boilerplate else one for one in found), key=lambda one: one.place)
    return (_without_boilerplate(found) or found) if clusters.setting == "leave-out" else found


def passage(candidate: Candidate) -> Passage:
    own = (candidate.chunk, candidate.text, candidate.heading_path, candidate.score, candidate.citations)
    return Passage(*own, scores=candidate.scores)


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


def _clusters(connection: Connection, candidates: Sequence[Candidate], generation: int, boilerplate: Setting) -> Clusters:
    chunks = [candidate.chunk for candidate in candidates]
    rows = connection.execute(_SQL["clusters"], {"generation": generation, "chunks": chunks})
    pivots = {row["chunk"]: row["pivot"] for row in rows}
    return Clusters(pivots, _boilerplate(connection, generation, {pivots.get(chunk, chunk) for chunk in chunks}), boilerplate)


def _boilerplate(connection: Connection, generation: int, pivots: Collection[str]) -> set[str]:
    """Those of the clusters that stand in a large share of the tenant's documents, which are counted only if a cluster stands in many."""
    values = {"generation": generation, "pivots": sorted(pivots), "least": BOILERPLATE_DOCUMENTS}
    often = [row["pivot"] for row in connection.execute(_SQL["often"], values)]
    if not often:
        return set()
    documents = connection.execute(_SQL["documents"], values).fetchall()[0]["documents"]
    least = max(BOILERPLATE_DOCUMENTS, math.floor(documents * BOILERPLATE_SHARE) + 1)
    return {row["pivot"] for row in connection.execute(_SQL["often"], {**values, "pivots": often, "least": least})}


def _members(connection: Connection, scope: Scope, shown: Sequence[Passage], clusters: Clusters) -> dict[str, Members]:
    """By the chunk that is shown."""
    columns = {"shown": [one.chunk for one in shown], "texts": [one.text for one in shown]}
    pivots = [clusters.pivot(one.chunk) for one in shown]
    values = {**scope.values, "pivots": pivots, "listed": LISTED, "counted": COUNTED}
    rows = connection.execute(scope.statement(_SQL["alike"]), {**columns, **values}).fetchall()
    cited = {one.chunk: one for one in cite(connection, scope, [row["chunk"] for row in rows], len(rows))}
    found: dict[str, Members] = {}
    for row in rows:
        before = found.get(row["shown"], Members()).listed
        found[row["shown"]] = Members([*before, cited[row["chunk"]]], row["members"])
    return found


def _related(shown: Passage, members: Members, within: Sequence[Containing]) -> Passage:
    alike = tuple(_alike(shown, member) for member in members.listed)
    return replace(shown, alike=alike, more_alike=members.number - len(alike), within=tuple(within))


def _alike(shown: Passage, member: Cited) -> Alike:
    similarity = shingles.similarity(shown.text, member.text)
    return Alike(member.chunk, member.heading_path, similarity, difference(shown.text, member.text), member.cited)


def _containing(shown: Passage, candidates: Sequence[Candidate], cut: Mapping[str, frozenset[str]], clusters: Clusters) -> list[Containing]:
    """The candidates of other clusters that contain the passage. `cut`: their shingles."""
    wanted, found = cut[shown.chunk], list[Containing]()
    for other in candidates:
        share = len(wanted & cut[other.chunk]) / len(wanted)
        is_longer = len(cut[other.chunk]) > len(wanted)
        if share >= CONTAINED and is_longer and clusters.pivot(other.chunk) != clusters.pivot(shown.chunk):
            found.append(Containing(other.chunk, other.heading_path, share, other.citations))
    return found


_SQL = statements("retrieval", "sql/collapse.sql")
