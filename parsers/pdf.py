"""PDF → Content without a layout model: docling's parser gives lines with their places, and geometry joins them.

Lines of one size at one distance are a paragraph; lines larger than the running text are headings. Tables, columns out of order and
running heads are for a layout model.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import pypdfium2  # type: ignore[import-untyped]
from docling_parse.pdf_parser import DoclingPdfParser

from core.records import Block, Content, Link
from parsers.reasons import ParseError

_KEPT = ("Title", "Author", "Subject", "Keywords")
_HYPHENATED = re.compile(r"[^\W\d_]-$")
_BULLET = re.compile(r"[•◦▪‣⁃·●○■□➢✓∞–*-]\s+")
_NUMBER = re.compile(r"\(?(?:\d{1,3}|[a-z])[.)]\s")
_HEADING = re.compile(r"[^\W_].{0,198}[^\s.,;:]$", re.DOTALL)
# in line heights
_SAME_SIZE, _HEADING_SIZE = 0.3, 1.25
_INDENT, _WORD_GAP, _CELL_GAP, _SINGLE_SPACED, _WIDEST = 0.8, 0.12, 3.0, 1.4, 4.0
# in the document's usual distance between base lines
_SAME_PITCH = 1.15
_DEEPEST_HEADING = 6
_TITLE_WITHIN = 5


class _Line(NamedTuple):
    """A line of text; places in points, from the lower left corner."""

    page: int
    left: float
    bottom: float
    right: float
    top: float
    text: str
    links: tuple[Link, ...] = ()

    @property
    def height(self) -> float:
        return max(self.top - self.bottom, 0.1)

    @property
    def size(self) -> float:
        """The height in half points."""
        return round(self.height * 2) / 2

    @property
    def marked(self) -> bool:
        """Whether it begins as a list's item does."""
        return bool(_BULLET.match(self.text) or _NUMBER.match(self.text))


def read(content: bytes, grade: str = "layout") -> Content:  # noqa: ARG001 - one grade so far
    """Raises `encrypted-document` where a password is needed, `corrupt-document` where it does not open."""
    properties, cells = _opened(content)
    lines = [line for page in cells for line in _lines(page)]
    sizes = _heading_sizes(lines)
    blocks = tuple(_block(group, sizes) for group in _groups(lines, _usual_pitch(lines)))
    return Content(blocks=blocks, title=properties.get("title") or _first_heading(blocks), properties=properties)


def _opened(content: bytes) -> tuple[dict[str, str], list[list[_Line]]]:
    """The properties, and each page's cells; pdfium is stricter about passwords and laxer about damage, so it has both last words."""
    try:
        document = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        reason = "encrypted-document" if "password" in str(error).lower() else "corrupt-document"
        raise ParseError(reason, type(error).__name__) from None
    try:
        return _properties(document), _parsed_cells(content) or _plain_cells(document)
    finally:
        document.close()


def _properties(document: Any) -> dict[str, str]:
    found = document.get_metadata_dict()
    return {name.lower(): text for name in _KEPT if (text := " ".join(found.get(name, "").replace("\0", "").split()))}


def _parsed_cells(content: bytes) -> list[list[_Line]]:
    """None at all where docling's parser gives up on the file."""
    try:
        pages = DoclingPdfParser(loglevel="fatal").load(io.BytesIO(content))
        return [list(_cells(number, page)) for number, page in pages.iterate_pages()]
    except (RuntimeError, ValueError):
        return []


def _plain_cells(document: Any) -> list[list[_Line]]:
    return [list(_rectangles(number, page.get_textpage())) for number, page in enumerate(document, start=1)]


def _rectangles(number: int, text: Any) -> Iterator[_Line]:
    for at in range(text.count_rects()):
        left, bottom, right, top = text.get_rect(at)
        words = _clean(text.get_text_bounded(left, bottom, right, top))
        if words:
            yield _Line(number, left, bottom, right, top, " ".join(words.split()))


def _lines(cells: list[_Line]) -> Iterator[_Line]:
    """A page's lines: cells side by side on one base line are one."""
    line: _Line | None = None
    for cell in cells:
        if line and _beside(line, cell):
            line = _merged(line, cell)
        else:
            if line:
                yield line
            line = cell
    if line:
        yield line


def _cells(number: int, page: Any) -> Iterator[_Line]:
    links = [(link.rect.to_bounding_box(), str(link.uri)) for link in page.hyperlinks if link.uri]
    words = [(word.rect.to_bounding_box(), word.text) for word in page.word_cells] if links else []
    for cell in page.textline_cells:
        if cell.text.strip():
            box = cell.rect.to_bounding_box()
            yield _Line(number, box.l, box.b, box.r, box.t, _clean(cell.text), tuple(_linked(box, links, words)))


def _linked(line: Any, links: list[tuple[Any, str]], words: list[tuple[Any, str]]) -> Iterator[Link]:
    for box, target in links:
        if _inside(box, line):
            text = " ".join(word for place, word in words if _inside(place, box) and _inside(place, line))
            yield Link(_clean(text), target)


def _inside(inner: Any, outer: Any) -> bool:
    """Whether the middle of one box lies in the other."""
    across, up = (inner.l + inner.r) / 2, (inner.b + inner.t) / 2
    return bool(outer.l <= across <= outer.r and outer.b <= up <= outer.t)


def _clean(text: str) -> str:
    return text.replace("\0", "").encode("utf-8", "replace").decode().strip()


def _beside(line: _Line, cell: _Line) -> bool:
    overlap = min(line.top, cell.top) - max(line.bottom, cell.bottom)
    gap = cell.left - line.right
    return overlap > 0.5 * min(line.height, cell.height) and -0.5 * line.height < gap < _CELL_GAP * line.height


def _merged(line: _Line, cell: _Line) -> _Line:
    space = " " if cell.left - line.right > _WORD_GAP * line.height else ""
    bounds = (line.left, min(line.bottom, cell.bottom), max(line.right, cell.right), max(line.top, cell.top))
    return _Line(line.page, *bounds, line.text + space + cell.text, line.links + cell.links)


def _usual_pitch(lines: list[_Line]) -> float:
    """The commonest distance between the base lines of neighbours, in points; 0 where there is none."""
    pitches = ((above.bottom - below.bottom, above) for above, below in pairwise(lines) if above.page == below.page)
    common = Counter(round(pitch * 2) / 2 for pitch, above in pitches if 0.5 * above.height < pitch < _WIDEST * above.height)
    return max(common, key=lambda pitch: (common[pitch], -pitch)) if common else 0.0


def _groups(lines: list[_Line], pitch: float) -> Iterator[list[_Line]]:
    group: list[_Line] = []
    for line in lines:
        if group and not _continues(group, line, pitch):
            yield group
            group = []
        group.append(line)
    if group:
        yield group


def _continues(group: list[_Line], line: _Line, pitch: float) -> bool:
    """Below the last line, as near as lines of a paragraph are, of the same size, in the same column, and not begun anew."""
    last = group[-1]
    below = 0.3 * line.height < last.bottom - line.bottom < max(_SAME_PITCH * pitch, _SINGLE_SPACED * line.height)
    alike = abs(last.height - line.height) < _SAME_SIZE * max(last.height, line.height)
    overlaps = min(last.right, line.right) > max(last.left, line.left)
    return line.page == last.page and below and alike and overlaps and not line.marked and not _begins(group, line)


def _begins(group: list[_Line], line: _Line) -> bool:
    """Indented more than the line above, but below a list's marker; or back out of an item's hanging lines."""
    step = line.left - group[-1].left
    hanging = len(group) == 1 and group[0].marked
    returned = len(group) > 1 and group[0].left < group[-1].left
    return (step > _INDENT * line.height and not hanging) or (step < -_INDENT * line.height and returned)


def _heading_sizes(lines: Iterable[_Line]) -> list[float]:
    """The sizes above the running text's, largest first, in half points."""
    characters: Counter[float] = Counter()
    for line in lines:
        characters[line.size] += len(line.text)
    if not characters:
        return []
    body = max(characters, key=lambda size: (characters[size], -size))
    return sorted((size for size in characters if size > _HEADING_SIZE * body), reverse=True)


def _block(group: list[_Line], sizes: list[float]) -> Block:
    text = _joined([line.text for line in group])
    links = tuple(link for line in group for link in line.links)
    page, size = group[0].page, group[0].size
    if size in sizes and _HEADING.fullmatch(text) and not text[0].islower():
        return Block("heading", text, level=min(sizes.index(size) + 1, _DEEPEST_HEADING), page=page, links=links)
    if bullet := _BULLET.match(text):
        return Block("list_item", text[bullet.end() :], level=1, page=page, links=links)
    return Block("paragraph", text, page=page, links=links)


def _joined(texts: list[str]) -> str:
    """Lines as running text; a word broken at the line's end is put together again."""
    joined = texts[0]
    for last, text in pairwise(texts):
        if _HYPHENATED.search(last) and text[:1].islower():
            joined = joined[:-1] + text
        else:
            joined += " " + text
    return joined


def _first_heading(blocks: tuple[Block, ...]) -> str:
    return next((block.text for block in blocks[:_TITLE_WITHIN] if block.kind == "heading"), "")
