"""Ruled tables: strokes that meet make a grid, and the words in its cells make the rows.

A cell over several columns or rows repeats its text in each, as docling's tables do: every slice of the table keeps its header.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from parsers.pdf.lines import Piece, pieces, text
from parsers.pdf.pages import Box, Page, Word

# in points: strokes nearer than this are one, and strokes shorter are dots
_SNAP, _SHORTEST = 3.0, 6.0
# of a table's cells: how many are whole areas, and how many are filled; in characters: what one may hold
_FEWEST_CELLS, _WHOLE, _FILLED = 2, 0.5, 0.3
_SEVERAL, _LONGEST, _LONGEST_OF_FEW = 6, 2000, 600


_Place = tuple[int, int]


class Table(NamedTuple):
    """Rows and where they stand; `edges` are the places between the columns, from the left side to the right one."""

    left: float
    top: float
    right: float
    bottom: float
    rows: tuple[tuple[str, ...], ...]
    edges: tuple[float, ...]

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def box(self) -> Box:
        return Box(self.left, self.top, self.right, self.bottom)


def ruled(page: Page) -> tuple[list[Table], list[Word]]:
    """The tables that strokes enclose, and the words outside them."""
    tables: list[Table] = []
    rest = page.words
    for strokes in _joined(page.rules):
        grid = _Grid.of(strokes)
        inside = [word for word in rest if grid and grid.box.holds(word)]
        table = grid.table(inside) if grid and inside else None
        if table:
            tables.append(table)
            taken = set(map(id, inside))
            rest = [word for word in rest if id(word) not in taken]
    return tables, rest


class _Grid(NamedTuple):
    across: list[Box]
    down: list[Box]
    lefts: list[float]
    tops: list[float]

    @classmethod
    def of(cls, strokes: list[Box]) -> _Grid | None:
        """None where the strokes enclose fewer than two cells."""
        across = [stroke for stroke in strokes if _wide(stroke)]
        down = [stroke for stroke in strokes if not _wide(stroke)]
        if not across or not down:
            return None
        lefts = _snapped([stroke.left for stroke in down] + [min(stroke.left for stroke in across), max(stroke.right for stroke in across)])
        tops = _snapped([stroke.top for stroke in across] + [min(stroke.top for stroke in down), max(stroke.bottom for stroke in down)])
        cells = (len(lefts) - 1) * (len(tops) - 1)
        return cls(across, down, lefts, tops) if len(lefts) > 1 and len(tops) > 1 and cells >= _FEWEST_CELLS else None

    @property
    def box(self) -> Box:
        return Box(self.lefts[0], self.tops[0], self.lefts[-1], self.tops[-1])

    def table(self, words: list[Word]) -> Table | None:
        """None where it is no table: one column or row, hardly a word in it, or cells as irregular as a drawing's."""
        areas = self._areas()
        texts = self._texts(words, areas)
        downs = self._told_apart([[areas[at, down] for at in range(len(self.lefts) - 1)] for down in range(len(self.tops) - 1)], texts)
        ats = self._told_apart([[row[at] for row in downs] for at in range(len(self.lefts) - 1)], texts)
        if len(ats) < 2 or len(downs) < 2 or not _regular([area for row in ats for area in row], texts):
            return None
        backwards = sum(word.backwards for word in words) > len(words) / 2
        rows = tuple(tuple(texts[area] for area in (row[::-1] if backwards else row)) for row in zip(*ats, strict=True))
        return Table(*self.box, rows, tuple(self.lefts))

    @staticmethod
    def _told_apart(lines: list[list[_Place]], texts: dict[_Place, str]) -> list[list[_Place]]:
        """Rows, or columns, without those that say nothing, or only what the one before says."""
        kept: list[list[_Place]] = []
        for line in lines:
            if any(texts[area] for area in line) and (not kept or line != kept[-1]):
                kept.append(line)
        return kept

    def _areas(self) -> dict[_Place, _Place]:
        """For each cell of the grid, its column and row, the first cell of the area that no stroke parts it from."""
        downs = {at: [stroke for stroke in self.down if _at(stroke.left, left)] for at, left in enumerate(self.lefts)}
        acrosses = {down: [stroke for stroke in self.across if _at(stroke.top, top)] for down, top in enumerate(self.tops)}
        areas: dict[_Place, _Place] = {}
        for down in range(len(self.tops) - 1):
            for at in range(len(self.lefts) - 1):
                if at and not self._parted(downs[at], down):
                    areas[at, down] = areas[at - 1, down]
                elif down and not self._crossed(acrosses[down], at):
                    areas[at, down] = areas[at, down - 1]
                else:
                    areas[at, down] = at, down
        return areas

    def _parted(self, strokes: list[Box], down: int) -> bool:
        middle = (self.tops[down] + self.tops[down + 1]) / 2
        return any(stroke.top - 1 < middle < stroke.bottom + 1 for stroke in strokes)

    def _crossed(self, strokes: list[Box], at: int) -> bool:
        middle = (self.lefts[at] + self.lefts[at + 1]) / 2
        return any(stroke.left - 1 < middle < stroke.right + 1 for stroke in strokes)

    def _texts(self, words: list[Word], areas: dict[_Place, _Place]) -> dict[_Place, str]:
        inside: dict[_Place, list[Word]] = {area: [] for area in areas.values()}
        for word in words:
            at = _between(self.lefts, (word.left + word.right) / 2)
            down = _between(self.tops, (word.top + word.bottom) / 2)
            inside[areas[at, down]].append(word)
        return {area: cell_text(found) for area, found in inside.items()}


def _regular(areas: list[_Place], texts: dict[_Place, str]) -> bool:
    """Whether most cells are whole areas, enough are filled, and none holds a page's text."""
    single, filled = set(areas), sum(bool(texts[area]) for area in set(areas))
    longest = max(len(texts[area]) for area in single)
    return (
        len(single) >= _WHOLE * len(areas)
        and filled >= max(_FEWEST_CELLS, _FILLED * len(single))
        and longest < (_LONGEST if len(single) >= _SEVERAL else _LONGEST_OF_FEW)
    )


def cell_text(words: list[Word]) -> str:
    """A cell's lines, one behind the other."""
    lines = sorted(pieces(words), key=_reading)
    return " ".join(" ".join(text(line.words) for line in lines).split())


def _reading(piece: Piece) -> tuple[int, float]:
    return round((piece.top + piece.bottom) / 8), piece.start


def _wide(stroke: Box) -> bool:
    return stroke.right - stroke.left >= stroke.bottom - stroke.top


def _joined(strokes: list[Box]) -> Iterator[list[Box]]:
    """The strokes that touch each other, directly or through others."""
    long = [stroke for stroke in strokes if max(stroke.right - stroke.left, stroke.bottom - stroke.top) >= _SHORTEST]
    parents = list(range(len(long)))

    def root(at: int) -> int:
        while parents[at] != at:
            parents[at] = parents[parents[at]]
            at = parents[at]
        return at

    for one, other in _touching(long):
        parents[root(one)] = root(other)
    groups: dict[int, list[Box]] = defaultdict(list)
    for at, stroke in enumerate(long):
        groups[root(at)].append(stroke)
    yield from groups.values()


def _touching(strokes: list[Box]) -> Iterator[_Place]:
    """Pairs that touch: swept from left to right, so that far ones never meet."""
    order = sorted(range(len(strokes)), key=lambda at: strokes[at].left)
    open_ones: list[int] = []
    for at in order:
        stroke = strokes[at]
        open_ones = [other for other in open_ones if strokes[other].right >= stroke.left - _SNAP]
        for other in open_ones:
            if strokes[other].top - _SNAP <= stroke.bottom and strokes[other].bottom + _SNAP >= stroke.top:
                yield at, other
        open_ones.append(at)


def _snapped(places: Iterable[float]) -> list[float]:
    """The places from left to right, or down; near ones are one, their mean."""
    groups: list[list[float]] = []
    for place in sorted(places):
        if groups and place - groups[-1][-1] <= _SNAP:
            groups[-1].append(place)
        else:
            groups.append([place])
    return [sum(group) / len(group) for group in groups]


def _at(place: float, other: float) -> bool:
    return abs(place - other) <= 2 * _SNAP


def _between(edges: list[float], place: float) -> int:
    """The number of the space between edges that the place is in."""
    return next((at for at, (low, high) in enumerate(pairwise(edges)) if low <= place <= high), 0)
