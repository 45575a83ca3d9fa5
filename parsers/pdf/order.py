"""The order in which a page is read: columns from the white space between them, tables from what stands aligned.

Rows are taken from the top as long as some gap runs through all of them. What stands beside such gaps is a table, where it is short
and aligned, or columns, where it is running text; each column is then ordered in the same way.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from itertools import pairwise
from typing import NamedTuple

from parsers.pdf.lines import Piece, merged
from parsers.pdf.pages import Box
from parsers.pdf.rules import Table
from parsers.pdf.tables import aligned

Item = Piece | Table
_Gap = tuple[float, float]

_DEEPEST = 6
# in the usual height of a line
_GUTTER, _TALL, _NARROWEST = 0.8, 3.0, 8.0
_SAME_ROW = 0.5
# in rows; and in gutters
_LOOK_BACK, _FAR = 6, 1.5
# columns of running text: lines that fill their column, and how many of all lines do
_FULL, _RUNNING, _FEWEST_LINES = 0.7, 0.45, 3
# or lines that are long, though ragged; in the usual height of a line
_LONG, _SEVERAL = 12.0, 5


def ordered(items: Sequence[Item], rules: Sequence[Box], depth: int = 0) -> list[Item]:
    """The page's lines and tables as they are read. Pieces of one line are one then."""
    if not items:
        return []
    height = statistics.median(min(item.height, 40.0) for item in items)
    reading: list[Item] = []
    for run in _runs(_rows(items, height), _GUTTER * height):
        reading += _read(run, rules, height, depth)
    return reading


class _Run(NamedTuple):
    """Rows that the gaps run through, from top to bottom; without gaps just rows."""

    rows: list[list[Item]]
    gaps: list[_Gap]

    @property
    def items(self) -> list[Item]:
        return [item for row in self.rows for item in row]


def _read(run: _Run, rules: Sequence[Box], height: float, depth: int) -> Iterator[Item]:
    columns = _columns(run) if run.gaps and depth < _DEEPEST else []
    halves = _halves(run, height) if columns else []
    if halves:
        for half in halves:
            yield from ordered(half, rules, depth + 1)
    elif columns and _running(columns, height):
        for column in columns:
            yield from ordered(column, rules, depth + 1)
    elif columns and (table := aligned(run.rows, run.gaps, rules)):
        yield from table
    elif columns and _apart(columns, run.rows, height):
        for column in columns:
            yield from ordered(column, rules, depth + 1)
    else:
        yield from _lines(run.rows)


def _lines(rows: Iterable[list[Item]]) -> Iterator[Item]:
    for row in rows:
        line = [item for item in row if isinstance(item, Piece)]
        if line:
            yield merged(line) if len(line) > 1 else line[0]
        yield from (item for item in row if isinstance(item, Table))


def _rows(items: Sequence[Item], height: float) -> list[list[Item]]:
    """Items on one height; what is tall counts with its top alone."""
    rows: list[list[Item]] = []
    low = high = 0.0
    for item in sorted(items, key=lambda item: (item.top + _bottom(item, height)) / 2):
        bottom = _bottom(item, height)
        common = (min(bottom, low) - max(item.top, high)) / max(0.1, min(bottom - item.top, low - high))
        if rows and common > _SAME_ROW and not _above(rows[-1], item):
            rows[-1].append(item)
        else:
            rows.append([item])
            high, low = item.top, bottom
    return [sorted(row, key=lambda item: item.left) for row in rows]


def _bottom(item: Item, height: float) -> float:
    return min(item.bottom, item.top + _TALL * height)


def _above(row: list[Item], item: Item) -> bool:
    """Whether the row has something in the same place from left to right: then they stand one above the other."""
    return any(
        min(item.right, other.right) - max(item.left, other.left) > 0.5 * min(item.right - item.left, other.right - other.left)
        for other in row
    )


def _runs(rows: list[list[Item]], gutter: float) -> Iterator[_Run]:
    items = [item for row in rows for item in row]
    sides = min(item.left for item in items), max(item.right for item in items)
    taken: list[list[Item]] = []
    gaps: list[_Gap] = []
    for row in rows:
        left = _narrowed(gaps, row, gutter)
        if taken and (not left or _better(taken, row, gaps, left, gutter) or _other(taken, row, gaps, gutter)):
            yield _Run(taken, _supported(gaps, taken))
            taken, left = [], []
        taken, gaps = [*taken, row], left if taken else _around(row, sides, gutter)
        start, better = _begun(taken, gaps, sides, gutter)
        if start:
            yield _Run(taken[:start], [])
            taken, gaps = taken[start:], better
    yield _Run(taken, _supported(gaps, taken))


def _begun(taken: list[list[Item]], gaps: list[_Gap], sides: tuple[float, float], gutter: float) -> tuple[int, list[_Gap]]:
    """Where among the last rows some begin to stand side by side, and their gaps; 0 where all do, or none."""
    if not _supported(gaps, taken):
        for start in range(max(1, len(taken) - _LOOK_BACK), len(taken) - 1):
            found = reduce(lambda left, row: _narrowed(left, row, gutter), taken[start + 1 :], _around(taken[start], sides, gutter))
            if _supported(found, taken[start:]):
                return start, found
    return 0, []


def _better(taken: list[list[Item]], row: list[Item], gaps: list[_Gap], left: list[_Gap], gutter: float) -> bool:
    """Whether a row begins something with more columns than what it would join has."""
    return len(_between(row, gutter)) > len(_supported(left, [*taken, row])) and not _supported(gaps, taken)


def _other(taken: list[list[Item]], row: list[Item], gaps: list[_Gap], gutter: float) -> bool:
    """Whether a table ends or begins: other gaps, below more white space than there was between any of the rows."""
    before, after = len(_supported(gaps, taken)), len(_between(row, gutter))
    several = max(before, after) > 1 and before and before != after
    distances = [_distance(one, other) for one, other in pairwise(taken)]
    return bool(several) and _distance(taken[-1], row) > max(_FAR * gutter, *(1.6 * distance for distance in distances), 0.0)


def _distance(row: list[Item], below: list[Item]) -> float:
    return min(item.top for item in below) - max(item.bottom for item in row)


def _between(row: list[Item], gutter: float) -> list[_Gap]:
    return [(one.right, other.left) for one, other in pairwise(row) if other.left - one.right >= gutter]


def _around(row: list[Item], sides: tuple[float, float], gutter: float) -> list[_Gap]:
    """The gaps in a row and on both sides of it."""
    outer = [(sides[0], row[0].left), (row[-1].right, sides[1])]
    return [gap for gap in (outer[0], *_between(row, gutter), outer[1]) if gap[1] - gap[0] >= gutter]


def _supported(gaps: list[_Gap], rows: list[list[Item]]) -> list[_Gap]:
    """The gaps that have something on both sides."""
    items = [item for row in rows for item in row]
    return [(low, high) for low, high in gaps if any(item.right <= low for item in items) and any(item.left >= high for item in items)]


def _narrowed(gaps: list[_Gap], row: list[Item], gutter: float) -> list[_Gap]:
    """What a row leaves of the gaps."""
    for item in row:
        parts = [part for gap in gaps for part in ((gap[0], min(gap[1], item.left)), (max(gap[0], item.right), gap[1]))]
        gaps = sorted({part for part in parts if part[1] - part[0] >= gutter})
    return _unnested(gaps)


def _unnested(gaps: list[_Gap]) -> list[_Gap]:
    return [gap for gap in gaps if not any(other != gap and other[0] <= gap[0] and gap[1] <= other[1] for other in gaps)]


def _columns(run: _Run) -> list[list[Item]]:
    middles = [(low + high) / 2 for low, high in run.gaps]
    columns: list[list[Item]] = [[] for _ in range(len(middles) + 1)]
    for item in run.items:
        columns[sum((item.left + item.right) / 2 > middle for middle in middles)].append(item)
    return [column for column in columns if column]


def _halves(run: _Run, height: float) -> list[list[Item]]:
    """Both sides of the widest gap that has long lines on both, if there are more gaps than that."""
    for gap in sorted(run.gaps, key=lambda gap: gap[0] - gap[1]) if len(run.gaps) > 1 else ():
        sides = _columns(_Run(run.rows, [gap]))
        if len(sides) > 1 and all(_is_long(side, height) for side in sides):
            return sides
    return []


def _running(columns: list[list[Item]], height: float) -> bool:
    """Whether each column is running text, or a table of its own."""
    return len(columns) > 1 and all(_is_running(column, height) for column in columns)


def _is_running(column: list[Item], height: float) -> bool:
    width = _width(column)
    full = sum(item.right - item.left > _FULL * width for item in column)
    filled = full >= _RUNNING * len(column) or _is_long(column, height)
    lines = len(column) >= _FEWEST_LINES and width > _NARROWEST * height and filled
    return lines or any(isinstance(item, Table) for item in column)


def _is_long(column: list[Item], height: float) -> bool:
    return len(column) >= _SEVERAL and statistics.fmean(item.right - item.left for item in column) > _LONG * height


def _apart(columns: list[list[Item]], rows: list[list[Item]], height: float) -> bool:
    """Whether the columns say more one after the other than across: wide ones whose lines are seldom on one height, or more than two."""
    single = sum(len(row) == 1 for row in rows)
    wide = all(len(column) > 1 and _width(column) > _NARROWEST * height for column in columns)
    return len(rows) >= _FEWEST_LINES and wide and (single > 0.5 * len(rows) or len(columns) > 2)


def _width(column: list[Item]) -> float:
    return max(item.right for item in column) - min(item.left for item in column)
