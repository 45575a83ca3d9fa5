"""Bands: which passages are compared. Each with the first `HEADS` of every band that it has, by `text_hash`.

A band with more passages is hot: what it needs to know is kept in `hot_band`, so that a swap does not read all of them, unless one of
the heads changes. Heads are the first of a random order, so that they change seldom.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from core.records import convert
from core.sql import statements
from core.tenancy import Connection

HEADS = 16

Bands = Mapping[str, Sequence[int]]
"""Passage → its bands."""
Pair = tuple[str, str]
"""A passage, and one before it."""


class Hot(msgspec.Struct, frozen=True):
    """A band with more than `HEADS` passages; `heads`: the first of them."""

    band: int
    passages: int
    heads: tuple[str, ...]


class Changed(msgspec.Struct, frozen=True):
    """What a swap changes in who is compared with whom.

    `pairs`: compared from now on. `dethroned`: they are no longer head of some band. `left_out`: pairs that are not compared, though they
    share a band with a passage that was added; counted for each band.
    """

    pairs: Collection[Pair]
    dethroned: Collection[str]
    left_out: int


def change(connection: Connection, generation: int, added: Bands, removed: Bands) -> Changed:
    """Store the bands of `added`, those of `removed` being deleted already. The caller holds the tenant's swap lock."""
    gained, lost = _by_band(added), _by_band(removed)
    hot = _hot(connection, generation, gained.keys() | lost.keys())
    others = _by_band(_sharing(connection, generation, [[band for band in bands if band not in hot] for bands in added.values()]))
    first = _first(connection, generation, [band for band in hot if not lost.get(band, set()).isdisjoint(hot[band].heads)])
    pairs, dethroned, raised, heated, left_out = set[Pair](), set[str](), dict[str, list[int]](), list[Hot](), 0
    for band in {*hot, *(band for band, passages in gained.items() if len(passages) > 1 or band in others)}:
        new, old = gained.get(band, set()), others.get(band, set())
        before = hot[band].heads if band in hot else old
        passages = hot[band].passages - len(lost.get(band, ())) + len(new) if band in hot else len(old | new)
        heads = sorted({*first.get(band, before), *new} - lost.get(band, set()))[:HEADS]
        entered = [head for head in heads if head not in before]
        for head in entered:
            pairs.update((passage, head) for passage in old | new if passage > head)
            if band in hot:
                raised.setdefault(head, []).append(band)
        pairs.update((passage, head) for passage in new for head in heads if head < passage)
        dethroned.update(head for head in before if head not in heads)
        left_out += len(new.difference(heads)) * max(0, passages - len(heads) - 1)
        if passages > HEADS:
            heated.append(Hot(band, passages, tuple(heads)))
    pairs.update(_below(connection, generation, raised))
    _store(connection, generation, added, heated, hot.keys() - {one.band for one in heated})
    return Changed(pairs, dethroned - removed.keys(), left_out)


def compared(connection: Connection, generation: int, passages: Collection[str]) -> list[Pair]:
    """Every pair of one of these and a passage before it that is compared."""
    rows = connection.execute(_SQL["bands"], {"generation": generation, "text_hashes": list(passages)})
    bands = {row["text_hash"]: row["bands"] for row in rows}
    hot = _hot(connection, generation, {band for of_one in bands.values() for band in of_one})
    others = _by_band(_sharing(connection, generation, [[band for band in of_one if band not in hot] for of_one in bands.values()]))
    heads = others | {band: set(one.heads) for band, one in hot.items()}
    return sorted({(one, head) for one, of_one in bands.items() for band in of_one for head in heads.get(band, ()) if head < one})


def clear(connection: Connection, generations: Sequence[int]) -> None:
    """Every band of these generations."""
    for statement in ("clear_signatures", "clear_hot_bands"):
        connection.execute(_SQL[statement], {"generations": list(generations)})


def _hot(connection: Connection, generation: int, bands: Collection[int]) -> dict[int, Hot]:
    rows = connection.execute(_SQL["hot"], {"generation": generation, "wanted": list(bands)})
    return {row["band"]: convert(row, Hot) for row in rows}


def _sharing(connection: Connection, generation: int, wanted: Iterable[Sequence[int]]) -> dict[str, Sequence[int]]:
    rows = connection.execute(_SQL["sharing"], {"generation": generation, "wanted": [_array(bands) for bands in wanted]})
    return {row["text_hash"]: row["bands"] for row in rows}


def _first(connection: Connection, generation: int, bands: Sequence[int]) -> dict[int, set[str]]:
    """The first stored passages of these bands."""
    found: dict[int, set[str]] = {band: set() for band in bands}
    if bands:
        for row in connection.execute(_SQL["first"], {"generation": generation, "wanted": bands, "most": HEADS}):
            found[row["band"]].add(row["text_hash"])
    return found


def _below(connection: Connection, generation: int, raised: Mapping[str, Sequence[int]]) -> set[Pair]:
    """Every stored passage of these bands with the passage before it that is a head of them now."""
    if not raised:
        return set()
    values = {"generation": generation, "heads": list(raised), "wanted": [_array(bands) for bands in raised.values()]}
    return {(row["text_hash"], row["head"]) for row in connection.execute(_SQL["below"], values)}


def _store(connection: Connection, generation: int, added: Bands, hot: Sequence[Hot], cooled: Collection[int]) -> None:
    if added:
        values = {"generation": generation, "text_hashes": list(added), "bands": [_array(bands) for bands in added.values()]}
        connection.execute(_SQL["sign"], values)
    if hot:
        wanted, passages, heads = [one.band for one in hot], [one.passages for one in hot], [" ".join(one.heads) for one in hot]
        connection.execute(_SQL["heat"], {"generation": generation, "wanted": wanted, "passages": passages, "heads": heads})
    if cooled:
        connection.execute(_SQL["cool"], {"generation": generation, "wanted": list(cooled)})


def _by_band(passages: Bands) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for passage, bands in passages.items():
        for band in bands:
            found.setdefault(band, set()).add(passage)
    return found


def _array(bands: Iterable[int]) -> str:
    return "{" + ",".join(map(str, bands)) + "}"


_SQL = statements("index", "sql/near_duplicates.sql")
