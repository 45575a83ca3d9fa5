"""Heading detection by size and weight, and heading levels."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from parsers.pdf.groups import LARGER, LEADERS, Group, Style, is_caption

_HEADING = re.compile(r"[^\W_](?:.{0,198}[^\s.,;:])?", re.DOTALL)
_NUMBERED = re.compile(r"(?:(?:chapter|section|part|appendix)\s+)?(\d{1,2}(?:\.\d{1,2}){0,4})\.?\s+\S", re.IGNORECASE)
# minimum size of a bold heading, as a share of the body text's size; sizes within this share of a larger one have the same level
_LEAST_BOLD, _NEAR_SIZE = 0.85, 0.93
_DEEPEST_HEADING, _LONGEST_HEADING = 6, 4


def is_heading(group: Group, body: Style) -> bool:
    """Whether the group stands out by size or weight, is short, and is not code, a caption or an entry of a table of contents."""
    style = group.style
    bold = style.bold and not body.bold and style.size >= _LEAST_BOLD * body.size
    prominent = style.size > LARGER * body.size or bold
    contents_entry = any(LEADERS.search(line.text) for line in group.lines)
    if not prominent or len(group.lines) > _LONGEST_HEADING or group.mono or contents_entry:
        return False
    words = group.text
    return bool(_HEADING.fullmatch(words)) and not words[0].islower() and any(map(str.isalpha, words)) and not is_caption(group, body)


def levels(headings: Iterable[Group]) -> dict[int, int]:
    """Each heading's level, by the id of its lines: from its size, and within one size from the depth of its number (1.2.3)."""
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
    """Each size's level from 1.

    The levels are the sizes that occur more than once; near sizes share a level. A size that occurs once takes the level of the next
    smaller one; those larger than all repeated sizes form a level above them, and those smaller a level below.
    """
    counts = Counter(sizes)
    repeated = sorted((size for size in counts if counts[size] > 1), reverse=True) or sorted(counts, reverse=True)
    steps = [size for at, size in enumerate(repeated) if not at or size < _NEAR_SIZE * repeated[at - 1]]
    above = any(size > steps[0] for size in counts)
    return {size: 1 if size > steps[0] else 1 + above + sum(size < _NEAR_SIZE * step for step in steps) for size in counts}


def _depth(words: str) -> int:
    number = _NUMBERED.match(words)
    return number[1].count(".") + 1 if number else 1
