"""Lines in reading order → groups: the lines of a paragraph, heading or list item, by distance, size and indent, across columns and pages.

What belongs here: grouping lines. What does not: classifying the groups (`parsers.pdf.headings`, `parsers.pdf.blocks`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from parsers.pdf.lines import Piece
from parsers.pdf.order import Item
from parsers.pdf.pages import Page
from parsers.pdf.rules import Table
from parsers.pdf.tables import continued

_HYPHENATED = re.compile(r"[^\W\d_][-\u00ad\u2010]$")
CAPTION = re.compile(
    r"(?:fig(?:ure|ura)?|abb(?:ildung)?|table|tab(?:elle|leau|la)?|tabla|listing|algorithm|chart|exhibit|scheme|plate)\b\.?\s*"
    r"(?>[A-Z]?\d+(?:[-.]\d+)*)(\s*[.:|–—-])?",
    re.IGNORECASE,
)
LEADERS = re.compile(r"(?:\s?[.·…_]){4,}")
_SENTENCE_END = re.compile(r"[.!?:;。؟][\"'”’)\]]*$")
# in line heights
_SAME_SIZE, INDENT, _SINGLE_SPACED, _WIDEST = 0.2, 0.8, 1.4, 4.0
# as a multiple of the document's usual line pitch
_SAME_PITCH = 1.15
LARGER = 1.12
"""Minimum size of a heading, as a multiple of the body text's size."""


class Placed(NamedTuple):
    """A line or a table, and its page."""

    page: Page
    item: Item


class Style(NamedTuple):
    """A size in points, and whether it is bold."""

    size: float
    bold: bool


class Group(NamedTuple):
    """The lines of one block."""

    placed: list[Placed]
    lines: list[Piece]

    @property
    def style(self) -> Style:
        return Style(self.lines[0].size, all(line.bold for line in self.lines))

    @property
    def mono(self) -> bool:
        return all(line.mono for line in self.lines)

    @property
    def text(self) -> str:
        return " ".join(LEADERS.sub(" … ", joined([line.text for line in self.lines])).split())


def groups(items: Sequence[Placed], body: Style) -> list[Group | Placed]:
    """The groups and tables. A table that continues on the next page is one, as is a paragraph continued in the next column or page."""
    pitch = _usual_pitch([placed.item for placed in items if isinstance(placed.item, Piece)])
    return _join_continuations(list(_groups(items, pitch, body)), body)


def body_style(lines: Iterable[Piece]) -> Style:
    """The style of the body text: that of most characters."""
    characters: Counter[Style] = Counter()
    for line in lines:
        characters[Style(line.size, line.bold)] += len(line.text)
    return max(characters, key=lambda style: (characters[style], -style.size)) if characters else Style(0.0, False)


def joined(texts: Sequence[str]) -> str:
    """Lines as running text; a word hyphenated at the end of a line is joined."""
    whole = texts[0]
    for last, following in pairwise(texts):
        if _HYPHENATED.search(last) and following[:1].islower():
            whole = whole[:-1] + following
        else:
            whole += " " + following
    return whole


def _usual_pitch(lines: list[Piece]) -> float:
    """The most common distance between neighbouring base lines, in points; 0 if there is none."""
    pitches = ((below.bottom - above.bottom, above) for above, below in pairwise(lines))
    common = Counter(round(pitch * 2) / 2 for pitch, above in pitches if 0.5 * above.height < pitch < _WIDEST * above.height)
    return max(common, key=lambda pitch: (common[pitch], -pitch)) if common else 0.0


def _groups(items: Iterable[Placed], pitch: float, body: Style) -> Iterator[Group | Placed]:
    group = Group([], [])
    for placed in items:
        line = placed.item
        if group.lines and not (isinstance(line, Piece) and _same_page(group, placed) and _continues(group.lines, line, pitch, body)):
            yield group
            group = Group([], [])
        if isinstance(line, Piece):
            group.placed.append(placed)
            group.lines.append(line)
        else:
            yield placed
    if group.lines:
        yield group


def _same_page(group: Group, placed: Placed) -> bool:
    return group.placed[0].page is placed.page


def _continues(group: list[Piece], line: Piece, pitch: float, body: Style) -> bool:
    """Whether the line continues the group: close below its last line, in the same style and column, and not the start of a new block."""
    last = group[-1]
    below = 0.3 * line.height < line.bottom - last.bottom < max(_SAME_PITCH * pitch, _SINGLE_SPACED * line.height)
    overlaps = min(last.right, line.right) > max(last.left, line.left)
    starts_block = line.marked or LEADERS.search(last.text) or (line.size < LARGER * body.size and _starts_paragraph(group, line))
    return below and (overlaps or line.mono) and _same_style(last, line) and not starts_block


def _same_style(last: Piece, line: Piece) -> bool:
    """Whether size and letter width are the same; weight and font may change in the middle of a sentence."""
    if abs(last.size - line.size) >= _SAME_SIZE * max(last.size, line.size) or last.mono != line.mono:
        return False
    short = last.right < line.right - 2 * line.height
    same = last.bold == line.bold and not (short and last.font != line.font)
    return same or not line.text[:1].isupper() or bool(_HYPHENATED.search(last.text))


def _starts_paragraph(group: list[Piece], line: Piece) -> bool:
    """Whether the line is indented, other than below a list marker; or outdented after an item's hanging lines."""
    step = line.start - group[-1].start
    hanging = len(group) == 1 and group[0].marked
    was_hanging = len(group) > 1 and group[0].start < group[-1].start
    centred = abs(line.left + line.right - group[-1].left - group[-1].right) < line.height
    indented = step > INDENT * line.height and not hanging and not line.mono and not centred
    return indented or (step < -INDENT * line.height and was_hanging and not line.mono and not centred)


def _join_continuations(groups: list[Group | Placed], body: Style) -> list[Group | Placed]:
    whole: list[Group | Placed] = []
    page = 0
    for group in groups:
        last = whole[-1] if whole else None
        if isinstance(last, Placed) and isinstance(group, Placed) and (table := _continued_table(last, group, page)):
            whole[-1] = last._replace(item=table)
        elif isinstance(last, Group) and isinstance(group, Group) and _is_continued(last, group, body):
            whole[-1] = Group(last.placed + group.placed, last.lines + group.lines)
        else:
            whole.append(group)
        page = group.page.number if isinstance(group, Placed) else group.placed[-1].page.number
    return whole


def _continued_table(first: Placed, second: Placed, page: int) -> Table | None:
    """Both tables as one, or None if the second does not continue the first, which ends on `page`."""
    assert isinstance(first.item, Table)
    assert isinstance(second.item, Table)
    return continued(first.item, second.item) if second.page.number == page + 1 else None


def _is_continued(group: Group, following: Group, body: Style) -> bool:
    """Whether a paragraph breaks off in the middle of a sentence at the end of a column, and the following one resumes it in the next."""
    last, line = group.lines[-1], following.lines[0]
    next_column = following.placed[0].page is not group.placed[-1].page or line.bottom < last.bottom
    unfinished = not _SENTENCE_END.search(last.text) and line.text[:1].islower() and not line.marked
    plain = group.style == following.style and not group.mono and group.style.size == body.size
    return next_column and unfinished and plain and not is_caption(group, body)


def is_caption(group: Group, body: Style) -> bool:
    """Whether it begins with `Figure 3:`, or with `Figure 3` in a style other than the body text's and without a full stop at the end."""
    label = CAPTION.match(group.text)
    distinct = (group.style.size < body.size or group.style.bold != body.bold) and not _SENTENCE_END.search(group.text)
    return label is not None and (bool(label[1]) or distinct)
