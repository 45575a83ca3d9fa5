"""PDFs by docling's parser, for the grade `layout`: words with their fonts, and the rules of tables."""

from __future__ import annotations

import io
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

from docling_core.types.doc.page import TextDirection
from docling_parse.pdf_parser import ContentConfig, ContentLevel, DoclingPdfParser

from parsers.pdf import plain
from parsers.pdf.pages import Box, Page, Word, clean, is_mono, largest_share

# more strokes are a drawing; maximum slant of a rule, and margin around the page, in points
_MOST_RULES, _SLANT, _EDGE = 4000, 1.0, 3.0
# coordinates beyond this many points are invalid (ISO 32000-1, annex C.2: pages have at most 14,400 units)
_FARTHEST = 1e6
# a font is monospaced if nine in ten words have the same letter width, to 3%
_FEWEST_WORDS, _EVEN, _MOSTLY = 6, 0.03, 0.9
# at least four letters in the width of one: a glyph's name instead of its character
_NAME, _GLYPH = 4, 0.8
_LEVEL, _SKIP = ContentLevel.COMPUTE_AND_MATERIALIZE, ContentLevel.SKIP
_CONTENT = ContentConfig(
    char_cells_content_level=_SKIP,
    word_cells_content_level=_LEVEL,
    line_cells_content_level=_SKIP,
    shapes_content_level=_LEVEL,
    bitmaps_content_level=_LEVEL,
    include_bitmap_bytes=False,
)
_CONTROL = re.compile(r"[\x01-\x1f\x7f-\x9f]")


def pages(content: bytes, document: Any) -> Iterator[Page]:
    """Every page, by docling's parser: words with their fonts, and rules; by pdfium if docling's parser fails."""
    source = _load(content)
    for at in range(len(document)):
        yield (source and _parsed_page(source, at + 1)) or plain.page(document, at)


def _load(content: bytes) -> Any:
    try:
        return DoclingPdfParser(loglevel="fatal").load(io.BytesIO(content), content_config=_CONTENT)
    except (RuntimeError, ValueError):
        return None


def _parsed_page(source: Any, number: int) -> Page | None:
    """The page, or None if docling's parser fails. It is unloaded at once, since a document may have thousands of pages."""
    try:
        page = source.get_page(number)
    except (RuntimeError, ValueError):
        return None
    height = page.dimension.crop_bbox.t - page.dimension.crop_bbox.b
    width = page.dimension.crop_bbox.r - page.dimension.crop_bbox.l
    words = _with_mono(_distinct(_words(page.word_cells, height)))
    rules = _on_page(_rules(page.shapes, height), width, height) if len(page.shapes) <= _MOST_RULES else []
    links = [(_placed(link.rect, height), str(link.uri)) for link in page.hyperlinks if link.uri]
    painted = bool(page.bitmap_resources or page.shapes)
    pictured = largest_share([_placed(picture.rect, height) for picture in page.bitmap_resources], width, height)
    source.unload_pages((number, number + 1))
    return Page(number, width, height, words, rules, links, painted, "layout", pictured)


def _words(cells: Iterable[Any], height: float) -> Iterator[Word]:
    """The words; those of a damaged file with invalid coordinates are dropped."""
    for cell in cells:
        text = clean(cell.text).strip()
        word = _word(cell, text, height) if text else None
        if word and all(abs(place) < _FARTHEST for place in word[:4]):
            yield word


def _word(cell: Any, text: str, height: float) -> Word:
    rect = cell.rect
    box, vertical = _placed(rect, height), abs(rect.r_x1 - rect.r_x0) < abs(rect.r_y1 - rect.r_y0)
    # a glyph with its name as text, such as bullets of old fonts
    is_glyph_name = len(text) >= _NAME and not vertical and box.right - box.left < _GLYPH * (box.bottom - box.top)
    return Word(
        *box,
        "•" if is_glyph_name or _CONTROL.fullmatch(text) else text,
        cell.font_name,
        cell.text_direction == TextDirection.RIGHT_TO_LEFT,
        vertical,
    )


def _distinct(words: Iterable[Word]) -> list[Word]:
    """The words, each place once: some files print a word twice to make it bold or to add a shadow."""
    return list({(word.text, round(word.left / 2), round(word.top / 2)): word for word in words}.values())


def _on_page(rules: Iterable[Box], width: float, height: float) -> list[Box]:
    """The distinct rules on the page, without its edges; empty if there are so many that they are a drawing."""
    paper, print_area = Box(-_EDGE, -_EDGE, width + _EDGE, height + _EDGE), Box(_EDGE, _EDGE, width - _EDGE, height - _EDGE)
    kept = {tuple(map(round, rule)): rule for rule in rules if print_area.contains_center(rule) and paper.contains(rule)}
    return list(kept.values()) if len(kept) <= _MOST_RULES else []


def _with_mono(words: list[Word]) -> list[Word]:
    """The words, with `mono` set if their font is monospaced, by its name or by measurement."""
    widths: defaultdict[str, list[float]] = defaultdict(list)
    for word in words:
        if len(word.text) > 1 and word.text.isascii():
            widths[word.font].append((word.right - word.left) / len(word.text) / word.height)
    mono = {font for font in {word.font for word in words} if is_mono(font) or _is_even(widths[font])}
    return [word._replace(mono=True) if word.font in mono else word for word in words] if mono else words


def _is_even(widths: list[float]) -> bool:
    middle = statistics.median(widths) if len(widths) >= _FEWEST_WORDS else 0.0
    return sum(abs(width - middle) < _EVEN * middle for width in widths) > _MOSTLY * len(widths)


def _placed(rect: Any, height: float) -> Box:
    across = (rect.r_x0, rect.r_x1, rect.r_x2, rect.r_x3)
    up = (rect.r_y0, rect.r_y1, rect.r_y2, rect.r_y3)
    return Box(min(across), height - max(up), max(across), height - min(up))


def _rules(shapes: list[Any], height: float) -> Iterator[Box]:
    """The horizontal and vertical strokes, including the edges of rectangles."""
    for shape in shapes:
        points = [(point[0], height - point[1]) for point in shape.points]
        for (x0, y0), (x1, y1) in pairwise(points):
            if abs(x0 - x1) < _SLANT or abs(y0 - y1) < _SLANT:
                yield Box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
