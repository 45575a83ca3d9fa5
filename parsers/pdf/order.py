"""Reading order of a page: columns from the white space between them, tables from alignment.

Rows are collected from the top as long as at least one vertical gap runs through all of them. Such a run is a table if its items are short
and aligned, or columns if they are running text; each column is then ordered recursively.
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
# minimum gap, maximum height of a line, and minimum width of a column, in usual line heights
_GUTTER, _TALL, _NARROWEST = 0.8, 3.0, 8.0
_SAME_ROW = 0.5
# number of rows; multiple of the gutter
_LOOK_BACK, _FAR = 6, 1.5
# running text: a full line's share of the column's width, the share of full lines, and the minimum number of lines
_FULL, _RUNNING, _FEWEST_LINES = 0.7, 0.45, 3
# or long but ragged lines: mean width in usual line heights, and the minimum number of lines
_LONG, _SEVERAL = 12.0, 5


def ordered(items: Sequence[Item], rules: Sequence[Box], depth: int = 0) -> list[Item]:
    """The page's lines and tables in reading order; the pieces of a line are merged."""
    if not items:
        return []
    height = statistics.median(min(item.height, 40.0) for item in items)
    reading: list[Item] = []
    for run in _runs(_rows(items, height), _GUTTER * height):
        reading += _read(run, rules, height, depth)
    return reading


class _Run(NamedTuple):
    """Consecutive rows, and the gaps that run through all of them."""

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
    elif columns and _are_running_text(columns, height):
        for column in columns:
            yield from ordered(column, rules, depth + 1)
    elif columns and (table := aligned(run.rows, run.gaps, rules)):
        yield from table
    elif columns and _are_independent(columns, run.rows, height):
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
    """Items at the same height; only the top of a tall item counts."""
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
    """Whether an item of the row overlaps this one horizontally, so that they stand above each other."""
    return any(
        min(item.right, other.right) - max(item.left, other.left) > 0.5 * min(item.right - item.left, other.right - other.left)
        for other in row
    )


def _runs(rows: list[list[Item]], gutter: float) -> Iterator[_Run]:
    items = [item for row in rows for item in row]
    sides = min(item.left for item in items), max(item.right for item in items)
    run: list[list[Item]] = []
    gaps: list[_Gap] = []
    for row in rows:
        narrowed = _narrowed(gaps, row, gutter)
        if run and (not narrowed or _adds_columns(run, row, gaps, narrowed, gutter) or _ends_table(run, row, gaps, gutter)):
            yield _Run(run, _supported(gaps, run))
            run, narrowed = [], []
        run, gaps = [*run, row], narrowed if run else _around(row, sides, gutter)
        start, later_gaps = _column_start(run, gaps, sides, gutter)
        if start:
            yield _Run(run[:start], [])
            run, gaps = run[start:], later_gaps
    yield _Run(run, _supported(gaps, run))


def _column_start(run: list[list[Item]], gaps: list[_Gap], sides: tuple[float, float], gutter: float) -> tuple[int, list[_Gap]]:
    """The index among the last rows at which columns begin, and their gaps; 0 if the run has columns already, or none begin."""
    if not _supported(gaps, run):
        for start in range(max(1, len(run) - _LOOK_BACK), len(run) - 1):
            later_gaps = reduce(lambda gaps, row: _narrowed(gaps, row, gutter), run[start + 1 :], _around(run[start], sides, gutter))
            if _supported(later_gaps, run[start:]):
                return start, later_gaps
    return 0, []


def _adds_columns(run: list[list[Item]], row: list[Item], gaps: list[_Gap], narrowed: list[_Gap], gutter: float) -> bool:
    """Whether the run has no columns, and the row has more than would remain if it joined the run."""
    return len(_between(row, gutter)) > len(_supported(narrowed, [*run, row])) and not _supported(gaps, run)


def _ends_table(run: list[list[Item]], row: list[Item], gaps: list[_Gap], gutter: float) -> bool:
    """Whether a table ends or begins at the row: different gaps, after more white space than between the rows of the run."""
    before, after = len(_supported(gaps, run)), len(_between(row, gutter))
    several = max(before, after) > 1 and before and before != after
    distances = [_distance(one, other) for one, other in pairwise(run)]
    return bool(several) and _distance(run[-1], row) > max(_FAR * gutter, *(1.6 * distance for distance in distances), 0.0)


def _distance(row: list[Item], below: list[Item]) -> float:
    return min(item.top for item in below) - max(item.bottom for item in row)


def _between(row: list[Item], gutter: float) -> list[_Gap]:
    return [(one.right, other.left) for one, other in pairwise(row) if other.left - one.right >= gutter]


def _around(row: list[Item], sides: tuple[float, float], gutter: float) -> list[_Gap]:
    """The gaps within a row and on both sides of it."""
    outer = [(sides[0], row[0].left), (row[-1].right, sides[1])]
    return [gap for gap in (outer[0], *_between(row, gutter), outer[1]) if gap[1] - gap[0] >= gutter]


def _supported(gaps: list[_Gap], rows: list[list[Item]]) -> list[_Gap]:
    """The gaps with items on both sides."""
    items = [item for row in rows for item in row]
    return [(low, high) for low, high in gaps if any(item.right <= low for item in items) and any(item.left >= high for item in items)]


def _narrowed(gaps: list[_Gap], row: list[Item], gutter: float) -> list[_Gap]:
    """The parts of the gaps that the row leaves free."""
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
    """Both sides of the widest gap with long lines on both sides; empty if there is only one gap."""
    for gap in sorted(run.gaps, key=lambda gap: gap[0] - gap[1]) if len(run.gaps) > 1 else ():
        sides = _columns(_Run(run.rows, [gap]))
        if len(sides) > 1 and all(_is_long(side, height) for side in sides):
            return sides
    return []


def _are_running_text(columns: list[list[Item]], height: float) -> bool:
    """Whether each column is running text or contains a table."""
    return len(columns) > 1 and all(_is_running_text(column, height) for column in columns)


def _is_running_text(column: list[Item], height: float) -> bool:
    width = _width(column)
    full = sum(item.right - item.left > _FULL * width for item in column)
    filled = full >= _RUNNING * len(column) or _is_long(column, height)
    lines = len(column) >= _FEWEST_LINES and width > _NARROWEST * height and filled
    return lines or any(isinstance(item, Table) for item in column)


def _is_long(column: list[Item], height: float) -> bool:
    return len(column) >= _SEVERAL and statistics.fmean(item.right - item.left for item in column) > _LONG * height


def _are_independent(columns: list[list[Item]], rows: list[list[Item]], height: float) -> bool:
    """Whether to read the columns one after the other: they are wide, and their lines rarely align or there are more than two columns."""
    single = sum(len(row) == 1 for row in rows)
    wide = all(len(column) > 1 and _width(column) > _NARROWEST * height for column in columns)
    return len(rows) >= _FEWEST_LINES and wide and (single > 0.5 * len(rows) or len(columns) > 2)


def _width(column: list[Item]) -> float:
    return max(item.right for item in column) - min(item.left for item in column)
