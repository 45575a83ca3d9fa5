"""Pages → Content: drops furniture, finds ruled tables, orders the rest, and records the signals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from core.records import Block, Content, Signals
from parsers.pdf import furniture
from parsers.pdf.blocks import blocks
from parsers.pdf.groups import Placed
from parsers.pdf.lines import BULLET, MOST_PIECES, Piece, pieces
from parsers.pdf.order import Item, ordered
from parsers.pdf.pages import Page
from parsers.pdf.rules import Table, ruled

_TITLE_WITHIN = 5


class _Sheet(NamedTuple):
    """A page, its ruled tables and the pieces of lines outside them."""

    page: Page
    tables: list[Table]
    pieces: list[Piece]


def content(pages: Sequence[Page], properties: Mapping[str, str], confidences: Sequence[float] = ()) -> Content:
    """The document. `confidences` are those of recognised lines, 0–1."""
    sheets = [_sheet(page) for page in pages]
    furniture_ids, dropped = furniture.find((sheet.page.height, sheet.pieces) for sheet in sheets)
    read = blocks([Placed(sheet.page, item) for sheet in sheets for item in _reading_order(sheet, furniture_ids)])
    title = properties.get("title") or first_heading(read)
    return Content(blocks=read, title=title, properties=dict(properties), signals=signals(pages, dropped, confidences))


def signals(pages: Sequence[Page], dropped: Mapping[str, int], confidences: Sequence[float]) -> Signals:
    """The signals that only the PDF reader knows: grades of the pages, dropped rows, confidence."""
    return Signals(
        pages=len(pages),
        empty_pages=sum(not page.words for page in pages),
        grades=dict(Counter(page.grade for page in pages if page.words)),
        dropped=dict(dropped),
        ocr_confidence=round(fmean(confidences), 4) if confidences else None,
    )


def _sheet(page: Page) -> _Sheet:
    tables, words = ruled(page)
    # a bullet without text carries no meaning, and would fill the gap between columns
    return _Sheet(page, tables, [piece for piece in pieces(words) if not BULLET.fullmatch(piece.text)])


def _reading_order(sheet: _Sheet, furniture_ids: set[int]) -> Iterator[Item]:
    """Tables and pieces in reading order, vertical text last; in the file's order at the grade `text` or with too many pieces."""
    kept = [piece for piece in sheet.pieces if id(piece) not in furniture_ids]
    if sheet.page.grade == "text" or len(sheet.pieces) > MOST_PIECES:
        yield from sheet.tables
        yield from kept
        return
    yield from ordered([*sheet.tables, *(piece for piece in kept if not piece.words[0].vertical)], sheet.page.rules)
    yield from (piece for piece in kept if piece.words[0].vertical)


def first_heading(blocks: Sequence[Block]) -> str:
    """The first heading if it is among the first blocks, for use as the title; else empty."""
    return next((block.text for block in blocks[:_TITLE_WITHIN] if block.kind == "heading"), "")
