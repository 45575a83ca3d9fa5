"""Ruled tables: touching strokes form a grid, and the words in its cells form the rows.

A cell that spans columns or rows repeats its text in each, as in docling's tables, so that every slice of the table keeps its header.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from parsers.pdf.lines import Piece, pieces, text
from parsers.pdf.pages import Box, Page, Word

# in points: strokes closer than this are merged, and shorter strokes are dots
_SNAP, _SHORTEST = 3.0, 6.0
# minimum number of cells, minimum share of distinct areas, minimum share of filled ones
_FEWEST_CELLS, _WHOLE, _FILLED = 2, 0.5, 0.3
_SEVERAL, _LONGEST, _LONGEST_OF_FEW = 6, 2000, 600


_Place = tuple[int, int]


class Table(NamedTuple):
    """Rows and their place; `edges` are the x coordinates between the columns, including both sides."""

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
    """The tables enclosed by strokes, and the words outside them."""
    tables: list[Table] = []
    outside = page.words
    for strokes in _connected(page.rules):
        grid = _Grid.of(strokes)
        inside = [word for word in outside if grid and grid.box.contains_center(word)]
        table = grid.table(inside) if grid and inside else None
        if table:
            tables.append(table)
            inside_ids = set(map(id, inside))
            outside = [word for word in outside if id(word) not in inside_ids]
    return tables, outside


class _Grid(NamedTuple):
    across: list[Box]
    down: list[Box]
    lefts: list[float]
    tops: list[float]

    @classmethod
    def of(cls, strokes: list[Box]) -> _Grid | None:
        """The grid, or None if the strokes enclose fewer than two cells."""
        across = [stroke for stroke in strokes if _is_horizontal(stroke)]
        down = [stroke for stroke in strokes if not _is_horizontal(stroke)]
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
        """The table, or None: a single column or row, almost no words, or cells as irregular as in a drawing."""
        areas = self._areas()
        texts = self._texts(words, areas)
        grid_rows = self._distinct([[areas[at, down] for at in range(len(self.lefts) - 1)] for down in range(len(self.tops) - 1)], texts)
        columns = self._distinct([[row[at] for row in grid_rows] for at in range(len(self.lefts) - 1)], texts)
        if len(columns) < 2 or len(grid_rows) < 2 or not _is_regular([area for column in columns for area in column], texts):
            return None
        right_to_left = sum(word.right_to_left for word in words) > len(words) / 2
        rows = tuple(tuple(texts[area] for area in (row[::-1] if right_to_left else row)) for row in zip(*columns, strict=True))
        return Table(*self.box, rows, tuple(self.lefts))

    @staticmethod
    def _distinct(lines: list[list[_Place]], texts: dict[_Place, str]) -> list[list[_Place]]:
        """Rows, or columns, without empty ones and those equal to the previous one."""
        kept: list[list[_Place]] = []
        for line in lines:
            if any(texts[area] for area in line) and (not kept or line != kept[-1]):
                kept.append(line)
        return kept

    def _areas(self) -> dict[_Place, _Place]:
        """For each cell of the grid (column, row), the first cell of its area: the cells that no stroke separates."""
        downs = {at: [stroke for stroke in self.down if _is_at(stroke.left, left)] for at, left in enumerate(self.lefts)}
        acrosses = {down: [stroke for stroke in self.across if _is_at(stroke.top, top)] for down, top in enumerate(self.tops)}
        areas: dict[_Place, _Place] = {}
        for down in range(len(self.tops) - 1):
            for at in range(len(self.lefts) - 1):
                if at and not self._is_separated(downs[at], down):
                    areas[at, down] = areas[at - 1, down]
                elif down and not self._is_crossed(acrosses[down], at):
                    areas[at, down] = areas[at, down - 1]
                else:
                    areas[at, down] = at, down
        return areas

    def _is_separated(self, strokes: list[Box], down: int) -> bool:
        """Whether a vertical stroke runs through this row."""
        middle = (self.tops[down] + self.tops[down + 1]) / 2
        return any(stroke.top - 1 < middle < stroke.bottom + 1 for stroke in strokes)

    def _is_crossed(self, strokes: list[Box], at: int) -> bool:
        """Whether a horizontal stroke runs through this column."""
        middle = (self.lefts[at] + self.lefts[at + 1]) / 2
        return any(stroke.left - 1 < middle < stroke.right + 1 for stroke in strokes)

    def _texts(self, words: list[Word], areas: dict[_Place, _Place]) -> dict[_Place, str]:
        inside: dict[_Place, list[Word]] = {area: [] for area in areas.values()}
        for word in words:
            at = _interval(self.lefts, (word.left + word.right) / 2)
            down = _interval(self.tops, (word.top + word.bottom) / 2)
            inside[areas[at, down]].append(word)
        return {area: cell_text(contents) for area, contents in inside.items()}


def _is_regular(areas: list[_Place], texts: dict[_Place, str]) -> bool:
    """Whether most cells are areas of their own, enough are filled, and none contains a page's text."""
    single, filled = set(areas), sum(bool(texts[area]) for area in set(areas))
    longest = max(len(texts[area]) for area in single)
    return (
        len(single) >= _WHOLE * len(areas)
        and filled >= max(_FEWEST_CELLS, _FILLED * len(single))
        and longest < (_LONGEST if len(single) >= _SEVERAL else _LONGEST_OF_FEW)
    )


def cell_text(words: list[Word]) -> str:
    """A cell's lines as one text."""
    lines = sorted(pieces(words), key=_reading_key)
    return " ".join(" ".join(text(line.words) for line in lines).split())


def _reading_key(piece: Piece) -> tuple[int, float]:
    return round((piece.top + piece.bottom) / 8), piece.start


def _is_horizontal(stroke: Box) -> bool:
    return stroke.right - stroke.left >= stroke.bottom - stroke.top


def _connected(strokes: list[Box]) -> Iterator[list[Box]]:
    """The strokes in groups that touch, directly or through others."""
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
    """Pairs of touching strokes, by a sweep from left to right, so that distant ones are not compared."""
    order = sorted(range(len(strokes)), key=lambda at: strokes[at].left)
    active: list[int] = []
    for at in order:
        stroke = strokes[at]
        active = [other for other in active if strokes[other].right >= stroke.left - _SNAP]
        for other in active:
            if strokes[other].top - _SNAP <= stroke.bottom and strokes[other].bottom + _SNAP >= stroke.top:
                yield at, other
        active.append(at)


def _snapped(places: Iterable[float]) -> list[float]:
    """The coordinates in order; close ones are merged into their mean."""
    groups: list[list[float]] = []
    for place in sorted(places):
        if groups and place - groups[-1][-1] <= _SNAP:
            groups[-1].append(place)
        else:
            groups.append([place])
    return [sum(group) / len(group) for group in groups]


def _is_at(place: float, other: float) -> bool:
    return abs(place - other) <= 2 * _SNAP


def _interval(edges: list[float], place: float) -> int:
    """The index of the interval between edges that contains the coordinate."""
    return next((at for at, (low, high) in enumerate(pairwise(edges)) if low <= place <= high), 0)
