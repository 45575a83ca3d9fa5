"""Tables without a grid: rows of short, vertically aligned pieces, with or without rules between; and tables that span pages."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Sequence

from parsers.pdf.lines import Piece, merged
from parsers.pdf.pages import Box
from parsers.pdf.rules import Table

_Row = list[Piece]
_NUMERIC = re.compile(r"[\d.,:%+()/€$£−–*± -]*\d[\d.,:%+()/€$£−–*± -]*")
# alignment tolerance in points; minimum shares of aligned cells, numeric cells, and rows with several cells
_TOLERANCE, _ALIGNED, _NUMBERS, _FULL_ROWS = 2.5, 0.6, 0.3, 0.5
_FEWEST_ROWS = 3
# in line heights: rows closer than this may be the lines of one row
_TIGHT = 1.45
_SAME_EDGE = 6.0


def aligned(rows: Sequence[Sequence[Piece | Table]], gaps: Sequence[tuple[float, float]], rules: Sequence[Box]) -> list[Piece | Table]:
    """The rows as a table, with the lines above and below that do not belong to it; empty if they form no table."""
    pieces = [[item for item in row if isinstance(item, Piece)] for row in rows]
    if any(len(row) != len(kept) for row, kept in zip(rows, pieces, strict=True)):
        return []
    before, body, after = _trim(pieces)
    cells = [_cells(row, gaps) for row in body]
    code = all(piece.mono for row in body for piece in row)
    if not body or code or not _is_table(cells, _is_ruled(body, rules)):
        return []
    return [*map(_line, before), _table(body, cells, gaps), *map(_line, after)]


def continued(first: Table, second: Table) -> Table | None:
    """A table and its continuation on the next page as one, its header once; None if the second does not continue the first."""
    if len(first.edges) != len(second.edges) or any(abs(a - b) > _SAME_EDGE for a, b in zip(first.edges, second.edges, strict=True)):
        return None
    more = second.rows[1:] if second.rows[0] == first.rows[0] else second.rows
    return first._replace(rows=first.rows + more)


def _line(row: _Row) -> Piece:
    return merged(row) if len(row) > 1 else row[0]


def _trim(rows: list[_Row]) -> tuple[list[_Row], list[_Row], list[_Row]]:
    """The rows before the first and after the last row with several cells, split off: before, body, after."""
    several = [at for at, row in enumerate(rows) if len(row) > 1]
    if not several:
        return rows, [], []
    last = several[-1] + 1
    while last < len(rows) and _continues(rows[last - 1], rows[last]):
        last += 1
    return rows[: several[0]], rows[several[0] : last], rows[last:]


def _continues(row: _Row, below: _Row) -> bool:
    """Whether a row of one cell continues a cell of the row above, other than its first."""
    return len(row) > 1 and below[0].left >= row[1].left - _TOLERANCE and _is_near(row, below)


def _is_near(row: _Row, below: _Row) -> bool:
    return below[0].top - row[0].top < _TIGHT * max(row[0].height, below[0].height)


def _cells(row: _Row, gaps: Sequence[tuple[float, float]]) -> list[Piece | None]:
    """The piece, or None, in each column."""
    columns: list[list[Piece]] = [[] for _ in range(len(gaps) + 1)]
    for piece in row:
        middle = (piece.left + piece.right) / 2
        columns[sum(middle > (low + high) / 2 for low, high in gaps)].append(piece)
    return [_line(column) if column else None for column in columns]


def _is_table(cells: list[list[Piece | None]], ruled: bool) -> bool:
    full = sum(sum(cell is not None for cell in row) > 1 for row in cells)
    enough = full >= (2 if ruled else _FEWEST_ROWS) and full >= _FULL_ROWS * len(cells)
    return enough and (ruled or _is_numeric(cells) or _is_aligned(cells))


def _is_numeric(cells: list[list[Piece | None]]) -> bool:
    texts = [cell.text for row in cells for cell in row[1:] if cell]
    return sum(bool(_NUMERIC.fullmatch(text)) for text in texts) > _NUMBERS * len(texts)


def _is_aligned(cells: list[list[Piece | None]]) -> bool:
    """Whether the cells of every column share their left or their right sides."""
    return all(_aligned_share(column) >= _ALIGNED for column in zip(*cells, strict=True))


def _aligned_share(column: Iterable[Piece | None]) -> float:
    """The largest share of cells whose left, or right, side is at the column's median."""
    cells = [cell for cell in column if cell]
    if len(cells) < 2:
        return 0.0
    sides = ([cell.left for cell in cells], [cell.right for cell in cells])
    return max(sum(abs(place - statistics.median(side)) < _TOLERANCE for place in side) / len(side) for side in sides)


def _is_ruled(rows: list[_Row], rules: Sequence[Box]) -> bool:
    """Whether at least two horizontal rules lie within the rows or next to them."""
    box = _bounds(rows)
    reach = 2 * rows[0][0].height
    across = {
        round(rule.top)
        for rule in rules
        if rule.right - rule.left > 0.7 * (box.right - box.left)
        and box.top - reach < rule.top < box.bottom + reach
        and rule.left < box.right
        and rule.right > box.left
    }
    return len(across) > 1


def _bounds(rows: list[_Row]) -> Box:
    pieces = [piece for row in rows for piece in row]
    return Box(min(p.left for p in pieces), min(p.top for p in pieces), max(p.right for p in pieces), max(p.bottom for p in pieces))


def _table(rows: list[_Row], cells: list[list[Piece | None]], gaps: Sequence[tuple[float, float]]) -> Table:
    box = _bounds(rows)
    texts: list[tuple[str, ...]] = []
    for at, row in enumerate(cells):
        written = tuple(" ".join(cell.text.split()) if cell else "" for cell in row)
        if at and not written[0] and _is_near(rows[at - 1], rows[at]) and at > 1:
            texts[-1] = tuple(" ".join(filter(None, pair)) for pair in zip(texts[-1], written, strict=True))
        else:
            texts.append(written)
    return Table(*box, tuple(texts), (box.left, *((low + high) / 2 for low, high in gaps), box.right))
