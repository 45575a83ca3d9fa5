"""Which groups of lines are headings, by size and weight, and of which level."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from parsers.pdf.groups import LARGER, LEADERS, Group, Style, is_caption

_HEADING = re.compile(r"[^\W_](?:.{0,198}[^\s.,;:])?", re.DOTALL)
_NUMBERED = re.compile(r"(?:(?:chapter|section|part|appendix)\s+)?(\d{1,2}(?:\.\d{1,2}){0,4})\.?\s+\S", re.IGNORECASE)
# of the running text's size: what is bold may be as small; and of the size above: what is one with it
_NOT_SMALLER, _NEAR_SIZE = 0.85, 0.93
_DEEPEST_HEADING, _LONGEST_HEADING = 6, 4


def is_heading(group: Group, body: Style) -> bool:
    style = group.style
    stressed = style.bold and not body.bold and style.size >= _NOT_SMALLER * body.size
    large = style.size > LARGER * body.size or stressed
    entry = any(LEADERS.search(line.text) for line in group.lines)
    if not large or len(group.lines) > _LONGEST_HEADING or group.mono or entry:
        return False
    words = group.text
    return bool(_HEADING.fullmatch(words)) and not words[0].islower() and any(map(str.isalpha, words)) and not is_caption(group, body)


def levels(headings: Iterable[Group]) -> dict[int, int]:
    """Each heading's level, by the id of its lines: larger and bolder is higher, and in one style a number of fewer parts is."""
    headings = list(headings)
    sizes = _ranks([group.style.size for group in headings])
    shallowest: dict[float, int] = {}
    for group in headings:
        shallowest[group.style.size] = min(_depth(group.text), shallowest.get(group.style.size, _DEEPEST_HEADING))
    return {
        id(group.lines): min(sizes[group.style.size] + _depth(group.text) - shallowest[group.style.size], _DEEPEST_HEADING)
        for group in headings
    }


def _ranks(sizes: list[float]) -> dict[float, int]:
    """Each size's level from 1. Near ones share it; of those that come once, the larger than all that come again make one level, and
    the smaller another, and the others have the level of the next below them."""
    counts = Counter(sizes)
    again = sorted((size for size in counts if counts[size] > 1), reverse=True) or sorted(counts, reverse=True)
    steps = [size for at, size in enumerate(again) if not at or size < _NEAR_SIZE * again[at - 1]]
    above = any(size > steps[0] for size in counts)
    return {size: 1 if size > steps[0] else 1 + above + sum(size < _NEAR_SIZE * step for step in steps) for size in counts}


def _depth(words: str) -> int:
    number = _NUMBERED.match(words)
    return number[1].count(".") + 1 if number else 1
