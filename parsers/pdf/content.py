"""Pages → Content: what is dropped, what stands in tables, in which order the rest is read, and how well all that went."""

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
    """The document. `confidences` are those of what was recognised, 0–1."""
    sheets = [_sheet(page) for page in pages]
    left_out, dropped = furniture.dropped((sheet.page.height, sheet.pieces) for sheet in sheets)
    found = blocks([Placed(sheet.page, item) for sheet in sheets for item in _reading(sheet, left_out)])
    title = properties.get("title") or first_heading(found)
    return Content(blocks=found, title=title, properties=dict(properties), signals=signals(pages, dropped, confidences))


def signals(pages: Sequence[Page], dropped: Mapping[str, int], confidences: Sequence[float]) -> Signals:
    """How the pages were read, and how well."""
    return Signals(
        pages=len(pages),
        empty_pages=sum(not page.words for page in pages),
        grades=dict(Counter(page.grade for page in pages if page.words)),
        dropped=dict(dropped),
        ocr_confidence=round(fmean(confidences), 4) if confidences else None,
    )


def _sheet(page: Page) -> _Sheet:
    tables, words = ruled(page)
    # a bullet that nothing stands behind says nothing, and holds up the eye between columns
    return _Sheet(page, tables, [piece for piece in pieces(words) if not BULLET.fullmatch(piece.text)])


def _reading(sheet: _Sheet, left_out: set[int]) -> Iterator[Item]:
    """In the order of the page, what stands upright last; in the file's own where the page was read for speed or is beyond all measure."""
    kept = [piece for piece in sheet.pieces if id(piece) not in left_out]
    if sheet.page.grade == "text" or len(sheet.pieces) > MOST_PIECES:
        yield from sheet.tables
        yield from kept
        return
    yield from ordered([*sheet.tables, *(piece for piece in kept if not piece.words[0].upright)], sheet.page.rules)
    yield from (piece for piece in kept if piece.words[0].upright)


def first_heading(found: Sequence[Block]) -> str:
    """A heading near the beginning, for a title; else nothing."""
    return next((block.text for block in found[:_TITLE_WITHIN] if block.kind == "heading"), "")
