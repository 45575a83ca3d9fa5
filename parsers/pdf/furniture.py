"""Page furniture: running heads, running feet and page numbers, which repeat at the top or bottom of several pages, apart from the text."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from parsers.pdf.lines import Piece, merged, overlap

# zone at the edge, as a share of the page's height; maximum shift between pages, in points; minimum gap to the text, in line heights
_ZONE, _SHIFT, _GAP = 0.13, 6.0, 0.8
_ROWS, _USUAL = 3, 3
_DIGITS = re.compile(r"\d+|\b[ivxlc]+\b")
_NUMBERED = re.compile(r"^#\W|\W#$")
_PAGE_NUMBER = re.compile(
    r"[\W_]*(?:(?:page|p\.|pg\.|seite|página|pagina|стр\.)\s*)?(?:\d{1,4}|[ivxlc]{1,7})(?:\s*(?:/|of|de|von|di|из)\s*\d{1,4})?[\W_]*",
    re.IGNORECASE,
)


class _Row(NamedTuple):
    """A row at a page's edge; `distance` is from the nearer edge to the row's far side, in points."""

    page: int
    edge: str
    distance: float
    key: str
    pieces: tuple[Piece, ...]

    @property
    def place(self) -> tuple[str, int]:
        """The approximate position."""
        return self.edge, round(self.distance / _SHIFT)


def find(pages: Iterable[tuple[float, list[Piece]]]) -> tuple[set[int], dict[str, int]]:
    """The ids of the pieces to drop, and the number of rows by kind: `header`, `footer`, `page_number`.

    `pages` are heights in points, and pieces. A row is furniture if another page has the same words, digits ignored, in the same place;
    a page number always is.
    """
    rows = [row for number, (height, pieces) in enumerate(pages) for row in _edge_rows(number, height, pieces)]
    repeated = _repeated(rows)
    places = Counter(row.place for row in repeated)
    kinds = [(row, kind) for row in rows if (kind := _kind(row, repeated, places))]
    return {id(piece) for row, _ in kinds for piece in row.pieces}, dict(Counter(kind for _, kind in kinds))


def _edge_rows(number: int, height: float, pieces: list[Piece]) -> Iterator[_Row]:
    """The outermost rows at the top and the bottom, up to the last gap that separates them from the text."""
    rows = _rows(pieces)
    for edge, inwards in (("header", rows), ("footer", rows[::-1])):
        outer: list[_Row] = []
        for at, row in enumerate(inwards):
            line, following = merged(row), inwards[at + 1] if at + 1 < len(inwards) else None
            distance = line.bottom if edge == "header" else height - line.top
            if distance > _ZONE * height or len(outer) == _ROWS:
                break
            outer.append(_Row(number, edge, distance, _key(line.text), tuple(row)))
            if following is None or _is_separate(line, merged(following)):
                yield from outer
                outer = []


def _is_separate(line: Piece, following: Piece) -> bool:
    gap = max(following.top - line.bottom, line.top - following.bottom)
    return gap > _GAP * min(line.height, following.height)


def _rows(pieces: list[Piece]) -> list[list[Piece]]:
    rows: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda piece: piece.bottom):
        if rows and overlap(rows[-1][0], piece) > 0.5:
            rows[-1].append(piece)
        else:
            rows.append([piece])
    return rows


def _repeated(rows: Iterable[_Row]) -> set[_Row]:
    """The rows that also occur on another page."""
    by_key: defaultdict[tuple[str, str], list[_Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.distance):
        by_key[row.edge, row.key].append(row)
    pairs = (pair for same in by_key.values() for pair in pairwise(same))
    return {row for pair in pairs if pair[0].page != pair[1].page and pair[1].distance - pair[0].distance < _SHIFT for row in pair}


def _kind(row: _Row, repeated: set[_Row], places: Counter[tuple[str, int]]) -> str:
    """The row's kind, or empty. In a place of repeated rows, a row with a number at its end is furniture too: chapter title and number."""
    if _PAGE_NUMBER.fullmatch(merged(row.pieces).text):
        return "page_number"
    numbered = _NUMBERED.search(row.key) and places[row.place] >= _USUAL
    return row.edge if row in repeated or numbered else ""


def _key(text: str) -> str:
    return _DIGITS.sub("#", " ".join(text.lower().split()))
