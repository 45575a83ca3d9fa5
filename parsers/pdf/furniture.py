"""Running heads, running feet and page numbers: what stands alone at a page's upper or lower edge and again on other pages."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from parsers.pdf.lines import Piece, merged, overlap

# as shares of the page's height: where they stand; in points: how far they move from page to page; in heights: how far from the text
_ZONE, _MOVES, _ALONE = 0.13, 6.0, 0.8
_ROWS, _USUAL = 3, 3
_DIGITS = re.compile(r"\d+|\b[ivxlc]+\b")
_NUMBERED = re.compile(r"^#\W|\W#$")
_PAGE_NUMBER = re.compile(
    r"[\W_]*(?:(?:page|p\.|pg\.|seite|página|pagina|стр\.)\s*)?(?:\d{1,4}|[ivxlc]{1,7})(?:\s*(?:/|of|de|von|di|из)\s*\d{1,4})?[\W_]*",
    re.IGNORECASE,
)


class _Row(NamedTuple):
    """A row at a page's edge; `distance` is in points from the nearer edge, to the row's far side."""

    page: int
    edge: str
    distance: float
    key: str
    pieces: tuple[Piece, ...]

    @property
    def place(self) -> tuple[str, int]:
        """About where it is."""
        return self.edge, round(self.distance / _MOVES)


def dropped(pages: Iterable[tuple[float, list[Piece]]]) -> tuple[set[int], dict[str, int]]:
    """The ids of the pieces to leave out, and how many rows of each kind they are: `header`, `footer`, `page_number`.

    `pages` are heights and pieces. A row counts when it has the same words (digits apart) in the same place on another page;
    a page number also when it is the only one.
    """
    rows = [row for number, (height, pieces) in enumerate(pages) for row in _edges(number, height, pieces)]
    known = _repeated(rows)
    places = Counter(row.place for row in known)
    kinds = [(row, kind) for row in rows if (kind := _kind(row, known, places))]
    return {id(piece) for row, _ in kinds for piece in row.pieces}, dict(Counter(kind for _, kind in kinds))


def _edges(number: int, height: float, pieces: list[Piece]) -> Iterator[_Row]:
    """The outermost rows above and below, as far as each stands off from what follows inwards."""
    rows = _rows(pieces)
    for edge, inwards in (("header", rows), ("footer", rows[::-1])):
        outer: list[_Row] = []
        for at, row in enumerate(inwards):
            line, following = merged(row), inwards[at + 1] if at + 1 < len(inwards) else None
            distance = line.bottom if edge == "header" else height - line.top
            if distance > _ZONE * height or len(outer) == _ROWS:
                break
            outer.append(_Row(number, edge, distance, _key(line.text), tuple(row)))
            if following is None or _stands_off(line, merged(following)):
                yield from outer
                outer = []


def _stands_off(line: Piece, following: Piece) -> bool:
    gap = max(following.top - line.bottom, line.top - following.bottom)
    return gap > _ALONE * min(line.height, following.height)


def _rows(pieces: list[Piece]) -> list[list[Piece]]:
    rows: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda piece: piece.bottom):
        if rows and overlap(rows[-1][0], piece) > 0.5:
            rows[-1].append(piece)
        else:
            rows.append([piece])
    return rows


def _repeated(rows: Iterable[_Row]) -> set[_Row]:
    """The rows that come on another page too."""
    alike: defaultdict[tuple[str, str], list[_Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.distance):
        alike[row.edge, row.key].append(row)
    pairs = ((one, other) for found in alike.values() for one, other in pairwise(found))
    return {row for pair in pairs if pair[0].page != pair[1].page and pair[1].distance - pair[0].distance < _MOVES for row in pair}


def _kind(row: _Row, known: set[_Row], places: Counter[tuple[str, int]]) -> str:
    """Where others are known to be, a row that begins or ends with a number is one of them: a chapter's title beside the page's number."""
    if _PAGE_NUMBER.fullmatch(merged(row.pieces).text):
        return "page_number"
    numbered = _NUMBERED.search(row.key) and places[row.place] >= _USUAL
    return row.edge if row in known or numbered else ""


def _key(text: str) -> str:
    return _DIGITS.sub("#", " ".join(text.lower().split()))
