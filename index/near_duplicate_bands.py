"""Bands: which passages are compared. Each with the first `HEADS` of every band that it has, by `text_hash`.

A band with more passages is hot: what it needs to know is kept in `hot_band`, so that a swap does not read all of them, unless one of
the heads changes. Heads are the first of a random order, so that they change seldom.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from itertools import chain

import msgspec

from core.records import convert
from core.sql import array, statements
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


class Update(msgspec.Struct, frozen=True):
    """What happens to a band.

    `hot`: if it was. `old`: its stored passages if it was not. `first`: its first stored passages if one of its heads is gone.
    """

    band: int
    gained: Set[str]
    lost: Set[str]
    hot: Hot | None
    old: Set[str]
    first: Set[str] | None

    @property
    def before(self) -> Collection[str]:
        return self.hot.heads if self.hot else self.old

    @property
    def passages(self) -> int:
        return (self.hot.passages - len(self.lost) if self.hot else len(self.old)) + len(self.gained)

    @property
    def heads(self) -> list[str]:
        return sorted({*(self.before if self.first is None else self.first), *self.gained})[:HEADS]

    @property
    def raised(self) -> list[str]:
        """The heads that were none."""
        return [head for head in self.heads if head not in self.before]

    @property
    def pairs(self) -> Iterator[Pair]:
        """Of passages that are known here: of a hot band, `_below` knows the others."""
        heads, everyone = self.heads, self.old | self.gained
        yield from ((passage, head) for head in self.raised for passage in everyone if passage > head)
        yield from ((passage, head) for passage in self.gained for head in heads if passage > head)

    @property
    def left_out(self) -> int:
        heads = self.heads
        return len(self.gained - set(heads)) * max(0, self.passages - len(heads) - 1)


def change(connection: Connection, generation: int, added: Bands, removed: Bands) -> Changed:
    """Store the bands of `added`, those of `removed` being deleted already. The caller holds the tenant's swap lock."""
    updates = _updates(connection, generation, added, removed)
    raised: dict[str, list[int]] = {}
    for update in updates:
        for head in update.raised if update.hot else ():
            raised.setdefault(head, []).append(update.band)
    pairs = {*chain.from_iterable(update.pairs for update in updates), *_below(connection, generation, raised)}
    _store(connection, generation, added, updates)
    dethroned = {head for update in updates for head in set(update.before).difference(update.heads)}
    return Changed(pairs, dethroned - removed.keys(), sum(update.left_out for update in updates))


def _updates(connection: Connection, generation: int, added: Bands, removed: Bands) -> list[Update]:
    """Of every band that is hot, or that an added passage shares."""
    counts = Counter(chain.from_iterable(added.values()))
    hot = _hot(connection, generation, {*counts, *chain.from_iterable(removed.values())})
    others = _by_band(_sharing(connection, generation, added, hot), counts.keys())
    shared = {*hot, *others, *(band for band, passages in counts.items() if passages > 1)}
    gained, lost = _by_band(added, shared), _by_band(removed, shared)
    first = _first(connection, generation, [band for band in hot if not lost.get(band, set()).isdisjoint(hot[band].heads)])
    none: Set[str] = frozenset()
    return [Update(one, gained.get(one, none), lost.get(one, none), hot.get(one), others.get(one, none), first.get(one)) for one in shared]


def compared(connection: Connection, generation: int, passages: Collection[str]) -> list[Pair]:
    """Every pair of one of these and a passage before it that is compared."""
    rows = connection.execute(_SQL["bands"], {"generation": generation, "text_hashes": list(passages)})
    bands = {row["text_hash"]: row["bands"] for row in rows}
    hot = _hot(connection, generation, {band for of_one in bands.values() for band in of_one})
    others = _by_band(_sharing(connection, generation, bands, hot))
    heads = others | {band: set(one.heads) for band, one in hot.items()}
    return sorted({(one, head) for one, of_one in bands.items() for band in of_one for head in heads.get(band, ()) if head < one})


def clear(connection: Connection, generations: Sequence[int]) -> None:
    """Every band of these generations."""
    for statement in ("clear_signatures", "clear_hot_bands"):
        connection.execute(_SQL[statement], {"generations": list(generations)})


def _hot(connection: Connection, generation: int, bands: Iterable[int]) -> dict[int, Hot]:
    rows = connection.execute(_SQL["hot"], {"generation": generation, "wanted": array(bands)})
    return {row["band"]: convert(row, Hot) for row in rows}


def _sharing(connection: Connection, generation: int, passages: Bands, hot: Collection[int]) -> dict[str, Sequence[int]]:
    """Every stored passage that shares a band with one of these, but for hot ones."""
    wanted = [array(band for band in bands if band not in hot) if hot else array(bands) for bands in passages.values()]
    if not wanted:
        return {}
    rows = connection.execute(_SQL["sharing"], {"generation": generation, "wanted": wanted})
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
    values = {"generation": generation, "heads": list(raised), "wanted": [array(bands) for bands in raised.values()]}
    return {(row["text_hash"], row["head"]) for row in connection.execute(_SQL["below"], values)}


def _store(connection: Connection, generation: int, added: Bands, updates: Sequence[Update]) -> None:
    if added:
        values = {"generation": generation, "text_hashes": list(added), "bands": [array(bands) for bands in added.values()]}
        connection.execute(_SQL["sign"], values)
    hot = [update for update in updates if update.passages > HEADS]
    if hot:
        heads = [" ".join(update.heads) for update in hot]
        values = {"wanted": [update.band for update in hot], "passages": [update.passages for update in hot], "heads": heads}
        connection.execute(_SQL["heat"], {"generation": generation, **values})
    cooled = [update.band for update in updates if update.hot and update.passages <= HEADS]
    if cooled:
        connection.execute(_SQL["cool"], {"generation": generation, "wanted": cooled})


def _by_band(passages: Bands, only: Set[int] | None = None) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for passage, bands in passages.items():
        for band in bands if only is None else only & frozenset(bands):
            found.setdefault(band, set()).add(passage)
    return found


_SQL = statements("index", "sql/near_duplicates.sql")
