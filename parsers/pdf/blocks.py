"""Groups of lines and tables → blocks: classification as list items, code and captions, with links and places."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Sequence

from core.records import Block, BlockKind, Link
from parsers.pdf.groups import INDENT, Group, Placed, Style, body_style, groups, is_caption
from parsers.pdf.headings import is_heading, levels
from parsers.pdf.lines import NUMBER, Piece, text
from parsers.pdf.pages import Box, Page
from parsers.pdf.rules import Table

_CODE = re.compile(r"[{}();=<>\[\]#$]|^\s*(?:def|class|import|return|select)\b", re.IGNORECASE)


def blocks(items: Sequence[Placed]) -> tuple[Block, ...]:
    """All blocks, in the order of the items."""
    body = body_style(placed.item for placed in items if isinstance(placed.item, Piece))
    grouped = groups(items, body)
    headings = levels(group for group in grouped if isinstance(group, Group) and is_heading(group, body))
    nesting = _nesting(grouped)
    return tuple(_block(group, body, headings, nesting) for group in grouped)


def _nesting(grouped: list[Group | Placed]) -> dict[int, int]:
    """Each list item's depth from 1, by the id of its lines: one more than the number of enclosing indents."""
    depths: dict[int, int] = {}
    outer: list[float] = []
    for group in grouped:
        if not isinstance(group, Group) or not group.lines[0].marked:
            outer = []
            continue
        start = group.lines[0].start
        outer = [place for place in outer if place < start - INDENT * group.lines[0].height]
        outer.append(start)
        depths[id(group.lines)] = len(outer)
    return depths


def _block(group: Group | Placed, body: Style, headings: dict[int, int], nesting: dict[int, int]) -> Block:
    if isinstance(group, Placed):
        assert isinstance(group.item, Table)
        box = group.item.box
        return Block("table", page=group.page.number, rows=group.item.rows, links=tuple(links_in(group.page, box)), box=rounded(box))
    kind, words, level = _classify(group, body, headings, nesting)
    links = tuple(link for placed in group.placed for link in links_in(placed.page, placed.item.box))
    return Block(kind, words, level=level, page=group.placed[0].page.number, links=links, box=rounded(_box(group.placed)))


def _classify(group: Group, body: Style, headings: dict[int, int], nesting: dict[int, int]) -> tuple[BlockKind, str, int]:
    """The group's kind, text and level."""
    words = group.text
    if group.mono and (len(group.lines) > 1 or _CODE.search(words)):
        return "code", code(group.lines), 0
    if id(group.lines) in headings:
        return "heading", words, headings[id(group.lines)]
    if is_caption(group, body):
        return "caption", words, 0
    marker = group.lines[0].marker
    if (marker or NUMBER.match(words)) and words[marker:]:
        return "list_item", words[marker:], nesting[id(group.lines)]
    return "paragraph", words, 0


def code(lines: list[Piece]) -> str:
    """The lines, indented according to their places."""
    left = min(line.left for line in lines)
    width = max(0.1, statistics.median((line.right - line.left) / max(1, len(line.text)) for line in lines))
    return "\n".join(" " * round((line.left - left) / width) + line.text for line in lines)


def links_in(page: Page, box: Box) -> Iterator[Link]:
    """The page's links that lie in the box, each with the words that it covers."""
    for place, target in page.links:
        if box.contains_center(place):
            words = [word for word in page.words if place.contains_center(word) and box.contains_center(word)]
            yield Link(text(words), target)


def _box(placed: list[Placed]) -> Box:
    """The bounding box of the lines in the first column or page."""
    box = placed[0].item.box
    for part in placed[1:]:
        if part.page is not placed[0].page or part.item.top < box.top:
            break
        box = Box(min(box.left, part.item.left), box.top, max(box.right, part.item.right), max(box.bottom, part.item.bottom))
    return box


def rounded(box: Box) -> tuple[float, float, float, float]:
    """The box as in `core.records.Block.box`."""
    return round(box.left, 1), round(box.top, 1), round(box.right, 1), round(box.bottom, 1)
