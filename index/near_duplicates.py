"""Near-duplicates of a generation's passages, kept in the swap's transaction: equal to those made from scratch after any history.

Passages that share a MinHash band are candidates; an edge is a candidate whose texts' exact Jaccard similarity reaches the threshold. A
passage that comes first by `text_hash` has priority: it is a pivot if none of its neighbours before it is one, and belongs to the
first pivot among them otherwise (Ailon, Charikar and Newman, Aggregating inconsistent information, 2008, with a hash for the random
order), so that clusters depend on no order of arrival, and shrink when passages go.

Two caps, both functions of what is there, bound what is compared and stored. Of a band, every passage is compared with the first
`near_duplicate_bands.HEADS` alone. Of a passage, the first `EDGES` edges to passages before it are kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, islice
from typing import Any

from core import shingles
from core.policy import NearDuplicates
from core.sql import statements
from core.swap_lock import lock_swaps
from core.tenancy import Connection
from index import near_duplicate_bands as banding
from index import near_duplicate_pivots as pivots
from index.pages import Transaction, each_page

EDGES = 8
_COMPARED = 1000
"""Passages whose texts are in memory at once."""


def scheme() -> str:
    """Names everything that decides clusters but the threshold."""
    return f"{shingles.scheme()}-heads{banding.HEADS}-edges{EDGES}"


def begin(connection: Connection, generation: int, rules: NearDuplicates) -> None:
    """Record how a new generation's near-duplicates are found."""
    connection.execute(_SQL["begin"], {"generation": generation, **_values(rules)})


def refresh(connection: Connection, text_hashes: Sequence[str]) -> Counter[str]:
    """Bring the clusters up to date with these texts, in every generation. The caller holds the tenant's swap lock.

    Returns counts: `signed` passages, `edges` found, passages that `moved` between clusters, and `left_out`, the pairs of a band that
    were not compared because so many passages have it (counted for each band).
    """
    counts: Counter[str] = Counter()
    for rules in connection.execute(_SQL["rules"]).fetchall():
        values = {"generation": rules["generation"], "text_hashes": list(text_hashes)}
        removed = {row["text_hash"]: row["bands"] for row in connection.execute(_SQL["gone"], values)}
        missing = {row["text_hash"]: shingles.normalised(row["text"]) for row in connection.execute(_SQL["missing"], values)}
        if missing and rules["scheme"] != scheme():
            connection.execute(_SQL["fall_behind"], values)
            missing = {}
        if removed or missing:
            connection.execute(_SQL["interpret"])
            counts += _changed(connection, rules["generation"], rules["threshold"], missing, removed)
    return counts


def is_behind(connection: Connection, rules: NearDuplicates) -> bool:
    """Whether a generation has passages without a signature, from before near-duplicates were found, or other rules than these."""
    return bool(connection.execute(_SQL["is_behind"], _values(rules)).fetchall()[0]["behind"])


def catch_up(transaction: Transaction, rules: NearDuplicates) -> Counter[str]:
    """Find every generation's near-duplicates by these rules. Returns counts, as `refresh` does, and the number of `passages` looked at.

    Safe to cut off anywhere, and to repeat.
    """
    counts: Counter[str] = Counter()
    with transaction() as connection:
        lock_swaps(connection)
        connection.execute(_SQL["set_boilerplate"], _values(rules))
        rows = connection.execute(_SQL["behind"], _values(rules)).fetchall()
        behind = [_restarted(connection, row["generation"], row["same"], rules) for row in rows]
    for generation in behind:
        for passages, page in each_page(transaction, generation, refresh):
            counts += page + Counter(passages=passages)
        with transaction() as connection:
            lock_swaps(connection)
            connection.execute(_SQL["end"], {"generation": generation, **_values(rules)})
    return counts


def clear(connection: Connection, generations: Sequence[int]) -> None:
    """Everything of these generations."""
    banding.clear(connection, generations)
    for statement in ("clear_edges", "clear_rules"):
        connection.execute(_SQL[statement], {"generations": list(generations)})


def _restarted(connection: Connection, generation: int, same: bool, rules: NearDuplicates) -> int:
    """The generation, without what was found by other rules."""
    if not same:
        banding.clear(connection, [generation])
        connection.execute(_SQL["clear_edges"], {"generations": [generation]})
        connection.execute(_SQL["restart"], {"generation": generation, **_values(rules)})
    return generation


def _changed(
    connection: Connection, generation: int, threshold: float, texts: Mapping[str, str], removed: Mapping[str, Sequence[int]]
) -> Counter[str]:
    """`texts`: normalised, of the passages that are new; `removed`: the bands of those that are gone."""
    orphans = _separate(connection, generation, removed.keys())
    bands = dict(zip(texts, shingles.bands(list(texts.values())).tolist(), strict=True))
    change = banding.change(connection, generation, bands, removed)
    edges = _join(connection, generation, threshold, change.pairs)
    # further neighbours of these may be known to nobody: their edges were capped, or led to a head that is none any more
    unsure = {*(passage for passage, count in orphans.items() if count >= EDGES), *_after(connection, generation, change.dethroned)}
    for page in _batched(sorted(unsure), _COMPARED):
        connection.execute(_SQL["separate"], {"generation": generation, "text_hashes": list(page), "neighbours": []})
        edges |= _join(connection, generation, threshold, banding.compared(connection, generation, page))
    moved = pivots.settle(connection, generation, edges.keys() | orphans.keys() | unsure) if edges or orphans or unsure else 0
    return Counter(signed=len(texts), edges=sum(map(len, edges.values())), moved=moved, left_out=change.left_out)


def _separate(connection: Connection, generation: int, passages: Collection[str]) -> dict[str, int]:
    """Delete these passages' edges. Returns the passages after them that had an edge to one, and how many edges each had."""
    if not passages:
        return {}
    orphans = _after(connection, generation, passages)
    values = {"generation": generation, "text_hashes": list(passages), "neighbours": list(passages)}
    connection.execute(_SQL["separate"], values)
    return {passage: count for passage, count in orphans.items() if passage not in passages}


def _after(connection: Connection, generation: int, passages: Collection[str]) -> dict[str, int]:
    """The passages with an edge to one of these, and how many edges each has."""
    if not passages:
        return {}
    rows = connection.execute(_SQL["after"], {"generation": generation, "text_hashes": list(passages)})
    return {row["text_hash"]: row["edges"] for row in rows}


def _join(connection: Connection, generation: int, threshold: float, pairs: Collection[banding.Pair]) -> dict[str, dict[str, float]]:
    """Store the edges among these pairs. Returns them: passage → neighbour → similarity."""
    neighbours: dict[str, list[str]] = {}
    for passage, neighbour in sorted(pairs):
        neighbours.setdefault(passage, []).append(neighbour)
    found: dict[str, dict[str, float]] = {}
    for page in _batched(neighbours, _COMPARED):
        texts = _texts(connection, generation, {*page, *chain.from_iterable(neighbours[passage] for passage in page)})
        edges = {passage: _edges(texts, passage, neighbours[passage], threshold) for passage in page}
        found |= {passage: of_one for passage, of_one in edges.items() if of_one}
    if found:
        rows = [(passage, *edge) for passage, edges in found.items() for edge in edges.items()]
        columns = dict(zip(("text_hashes", "neighbours", "similarities"), map(list, zip(*rows, strict=True)), strict=True))
        connection.execute(_SQL["join"], {"generation": generation, **columns})
        connection.execute(_SQL["trim"], {"generation": generation, "text_hashes": list(found), "most": EDGES})
    return found


def _batched(passages: Iterable[str], size: int) -> Iterator[tuple[str, ...]]:
    """As `itertools.batched`, which Python has from 3.12."""
    rest = iter(passages)
    while page := tuple(islice(rest, size)):
        yield page


def _texts(connection: Connection, generation: int, passages: Collection[str]) -> dict[str, str]:
    rows = connection.execute(_SQL["texts"], {"generation": generation, "text_hashes": list(passages)})
    return {row["text_hash"]: shingles.normalised(row["text"]) for row in rows}


def _edges(texts: Mapping[str, str], passage: str, neighbours: Sequence[str], threshold: float) -> dict[str, float]:
    """The first neighbours that are alike beyond the threshold, and how much. `neighbours`: in order."""
    edges: dict[str, float] = {}
    for neighbour in neighbours:
        similarity = _similarity(texts[passage], texts[neighbour])
        if similarity >= threshold:
            edges[neighbour] = similarity
        if len(edges) == EDGES:
            break
    return edges


def _similarity(one: str, other: str) -> float:
    # the same passage below other headings is the most frequent near-duplicate
    return 1.0 if one == other else shingles.jaccard(_shingles(one), _shingles(other))


_shingles = lru_cache(64)(shingles.shingles)


def _values(rules: NearDuplicates) -> dict[str, Any]:
    return {"scheme": scheme(), "threshold": rules.threshold, "boilerplate": rules.boilerplate}


_SQL = statements("index", "sql/near_duplicates.sql")
