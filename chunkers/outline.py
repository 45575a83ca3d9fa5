"""Blocks → sections: which headings stand over what, and how much of their path fits.

The words of every heading end up somewhere: in the path of a chunk or, where no chunk carries it, as text of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from chunkers.pieces import is_empty
from chunkers.ruler import Ruler
from chunkers.text import squashed
from core.records import Block

Stack = tuple[int, ...]
"""Indices of the headings over a block, the root first."""


@dataclass(frozen=True)
class Section:
    """Neighbouring blocks under one heading, none empty. `budget` is what the path leaves for text, in tokens without special ones."""

    path: tuple[str, ...]
    budget: int
    blocks: tuple[Block, ...]


def outline(blocks: Sequence[Block], ruler: Ruler) -> list[Section]:
    """The document's sections in reading order, empty blocks left out.

    A path is shortened from the root, then dropped, until it leaves at least half of the room to the text.
    """
    blocks = [block for block in blocks if not is_empty(block)]
    stacks = _stacks(blocks)
    titles = {index: squashed(block.text) for index, block in enumerate(blocks) if block.kind == "heading"}
    paths = _Paths(titles, set(stacks), ruler)
    kept = sorted(_read_as_text(blocks, stacks, paths))
    return [
        Section(paths.titles(stack), paths.budget(stack), tuple(blocks[index] for index in group))
        for stack, group in groupby(kept, key=lambda index: stacks[index])
    ]


def _stacks(blocks: Sequence[Block]) -> list[Stack]:
    """For each block the headings over it; for a heading those over it, not itself."""
    out: list[Stack] = []
    stack: list[int] = []
    for index, block in enumerate(blocks):
        if block.kind == "heading":
            while stack and blocks[stack[-1]].level >= block.level:
                stack.pop()
        out.append(tuple(stack))
        if block.kind == "heading":
            stack.append(index)
    return out


def _read_as_text(blocks: Sequence[Block], stacks: Sequence[Stack], paths: _Paths) -> Iterator[int]:
    """Every block that is text, from the last to the first, and every heading that no path has carried until then."""
    carried: set[int] = set()
    for index in reversed(range(len(blocks))):
        if blocks[index].kind != "heading" or index not in carried:
            carried.update(paths.fitted(stacks[index]))
            yield index


class _Paths:
    """Each stack, shortened until it fits."""

    def __init__(self, titles: dict[int, str], stacks: set[Stack], ruler: Ruler) -> None:
        self._titles, self._room = titles, ruler.room
        self._fitted: dict[Stack, Stack] = {}
        self._costs: dict[Stack, int] = {(): 0}
        self._fit({stack: stack for stack in stacks}, ruler)

    def fitted(self, stack: Stack) -> Stack:
        return self._fitted[stack]

    def titles(self, stack: Stack) -> tuple[str, ...]:
        return tuple(self._titles[index] for index in self._fitted[stack])

    def budget(self, stack: Stack) -> int:
        return self._room - self._costs[self._fitted[stack]]

    def _fit(self, pending: dict[Stack, Stack], ruler: Ruler) -> None:
        """Measure all candidates in one batch; those that do not fit lose their root and are measured again."""
        while pending:
            unknown = sorted(set(pending.values()) - self._costs.keys())
            lines = [" > ".join(self._titles[index] for index in stack) + "\n" for stack in unknown]
            self._costs.update(zip(unknown, ruler.costs(lines), strict=True))
            fits = {stack for stack, candidate in pending.items() if self._costs[candidate] <= self._room // 2}
            self._fitted |= {stack: pending[stack] for stack in fits}
            pending = {stack: candidate[1:] for stack, candidate in pending.items() if stack not in fits}
