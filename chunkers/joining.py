"""Short neighbouring sections → one, under the headings that they have in common.

Their other headings stand in the text, each before what it is above. Which neighbours are joined depends on their content and on their
headings, not on their distance from the beginning (`chunkers.bonds`), so that an edit moves only boundaries near it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import pairwise

from chunkers.bonds import SizedPiece
from chunkers.meter import TokenMeter
from chunkers.outline import Heading, Section
from chunkers.pieces import APART, ATTACHED, BLOCK, Piece
from chunkers.text import one_line

_JOINT = "\n\n"


Joined = tuple[Section, list[SizedPiece]]
"""A section, or several that are one, and its pieces."""


@dataclass(frozen=True, slots=True)
class _Group:
    """Sections from `first` to `last`. `size`: in tokens, of their texts and of all headings below the first section's own ones."""

    first: int
    last: int
    size: int


def joined(
    sections: Sequence[Section], parts: Sequence[Sequence[SizedPiece]], meter: TokenMeter, short: float, together: float
) -> list[Joined]:
    """The sections with their pieces, where neighbours of at most `short` of their budgets are one while they fit into `together` of it.

    Deeper ones first, and only whole ones: what is joined to a section has all of the subsections that it had, or none.
    """
    joining = _Joining(sections, parts, meter)
    return [joining.section(group) for group in joining.groups(short, together)]


class _Joining:
    def __init__(self, sections: Sequence[Section], parts: Sequence[Sequence[SizedPiece]], meter: TokenMeter) -> None:
        self._sections, self._parts, self._meter = sections, parts, meter
        self._sizes = [sum(part.size for part in own) for own in parts]
        # how many headings each section has in common with the one before; none with what is before the first and after the last
        self._shared = [0, *(_common(before.above, after.above) for before, after in pairwise(sections)), 0]
        self._costs: dict[int, int] = {}
        self._budgets: dict[tuple[str, ...], int] = {(): meter.room}

    def groups(self, short: float, together: float) -> list[_Group]:
        """Close every boundary that can be closed; those with more headings in common first, then by a hash of what follows."""
        by_end = {at: _Group(at, at, size) for at, size in enumerate(self._sizes)}
        by_start = dict(by_end)
        closable = sorted(self._closable(short), key=self._rank)
        self._measure({at for boundary in closable for at in (boundary - 1, boundary)})
        for boundary in closable:
            left, right = by_end[boundary - 1], by_start[boundary]
            group = _Group(left.first, right.last, left.size + self._headings_size(boundary, self._shared[boundary]) + right.size)
            if self._fits(group, self._shared[boundary], together):
                del by_end[boundary - 1], by_start[boundary]
                by_start[group.first] = by_end[group.last] = group
        return [by_start[first] for first in sorted(by_start)]

    def section(self, group: _Group) -> Joined:
        """The section that these are together, and its pieces."""
        if group.first == group.last:
            return self._sections[group.first], list(self._parts[group.first])
        depth = self._depth(group)
        path = self._sections[group.first].path[:depth]
        blocks = tuple(block for at in range(group.first, group.last + 1) for block in self._sections[at].blocks)
        together = Section(path, self._budget(path), blocks, self._sections[group.first].above[:depth])
        return together, [part for at in range(group.first, group.last + 1) for part in self._titled(at, max(depth, self._shared[at]))]

    def _closable(self, short: float) -> Iterator[int]:
        """Boundaries between two short sections. Where a path had to be shortened, a heading might be lost."""
        able = [
            size <= short * section.budget and len(section.path) == len(section.above) and not any(p.piece.bond == APART for p in own)
            for size, section, own in zip(self._sizes, self._sections, self._parts, strict=True)
        ]
        return (at for at, (before, after) in enumerate(pairwise(able), start=1) if before and after)

    def _rank(self, boundary: int) -> tuple[int, bytes, bytes]:
        return -self._shared[boundary], self._hash(boundary), self._hash(boundary - 1)

    def _hash(self, at: int) -> bytes:
        text = "\n".join((*self._sections[at].path, self._parts[at][0].piece.text))
        return blake2b(text.encode(), digest_size=8).digest()

    def _fits(self, group: _Group, depth: int, together: float) -> bool:
        if max(self._shared[group.first], self._shared[group.last + 1]) > depth:
            return False  # a part of a section that has other subsections
        path = self._sections[group.first].path[:depth]
        return group.size + self._headings_size(group.first, depth) <= together * self._budget(path)

    def _depth(self, group: _Group) -> int:
        return min(self._shared[at] for at in range(group.first + 1, group.last + 1))

    def _titled(self, at: int, depth: int) -> Iterator[SizedPiece]:
        """A section's pieces under those of its headings that are below the first `depth`."""
        headings = self._sections[at].above[depth:]
        for number, heading in enumerate(headings):
            bond = ATTACHED if number else BLOCK
            yield SizedPiece(Piece(one_line(heading.block.text), _JOINT, bond, heading.block.page), self._costs[heading.at])
        first, *rest = self._parts[at]
        yield replace(first, piece=replace(first.piece, joint=_JOINT, bond=ATTACHED if headings else BLOCK))
        yield from rest

    def _measure(self, sections: Iterable[int]) -> None:
        """Measure these sections' headings in one batch."""
        titles = {heading.at: one_line(heading.block.text) for at in sections for heading in self._sections[at].above}
        joint = self._meter.joint(_JOINT)
        self._costs = {at: cost + joint for at, cost in zip(titles, self._meter.costs(list(titles.values())), strict=True)}

    def _headings_size(self, at: int, depth: int) -> int:
        return sum(self._costs[heading.at] for heading in self._sections[at].above[depth:])

    def _budget(self, path: tuple[str, ...]) -> int:
        if path not in self._budgets:
            self._budgets[path] = self._meter.room - self._meter.costs([f"{' > '.join(path)}\n"])[0]
        return self._budgets[path]


def _common(one: Sequence[Heading], other: Sequence[Heading]) -> int:
    """How many headings two sections have in common."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a.at != b.at), min(len(one), len(other)))
