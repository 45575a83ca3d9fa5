"""Blocks → sections: the headings above each block, and how much of the heading path fits.

No heading is lost: its words are in the path of a chunk or, if no chunk has it in its path, in a chunk's text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from chunkers.meter import TokenMeter
from chunkers.pieces import is_empty
from chunkers.text import one_line
from core.records import Block

Stack = tuple[int, ...]
"""Indices of the headings above a block, the root first."""


class Heading(NamedTuple):
    """`at`: its place among the document's blocks."""

    at: int
    block: Block


@dataclass(frozen=True)
class Section:
    """Consecutive blocks under one heading, none empty. `budget` is the room for text beside the path, in tokens without special ones.

    `above`: all headings above, the root first; `path` has the last ones of them, as many as fit.
    """

    path: tuple[str, ...]
    budget: int
    blocks: tuple[Block, ...]
    above: tuple[Heading, ...]


def outline(blocks: Sequence[Block], meter: TokenMeter) -> list[Section]:
    """Return the document's sections in reading order, without empty blocks.

    A path is shortened from the root, and finally dropped, until it leaves at least half of the room for text.
    """
    blocks = [block for block in blocks if not is_empty(block)]
    stacks = _stacks(blocks)
    titles = {index: one_line(block.text) for index, block in enumerate(blocks) if block.kind == "heading"}
    paths = _Paths(titles, set(stacks), meter)
    kept = sorted(_read_as_text(blocks, stacks, paths))
    return [
        Section(
            paths.titles(stack),
            paths.budget(stack),
            tuple(blocks[index] for index in group),
            tuple(Heading(index, blocks[index]) for index in stack),
        )
        for stack, group in groupby(kept, key=lambda index: stacks[index])
    ]


def _stacks(blocks: Sequence[Block]) -> list[Stack]:
    """Return the headings above each block; for a heading, without itself."""
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
    """Yield the index of every text block, from last to first, and of every heading that is in no later path."""
    carried: set[int] = set()
    for index in reversed(range(len(blocks))):
        if blocks[index].kind != "heading" or index not in carried:
            carried.update(paths.fitted(stacks[index]))
            yield index


class _Paths:
    """Shortens each stack until it fits."""

    def __init__(self, titles: dict[int, str], stacks: set[Stack], meter: TokenMeter) -> None:
        self._titles, self._room = titles, meter.room
        self._fitted: dict[Stack, Stack] = {}
        self._costs: dict[Stack, int] = {(): 0}
        self._fit({stack: stack for stack in stacks}, meter)

    def fitted(self, stack: Stack) -> Stack:
        return self._fitted[stack]

    def titles(self, stack: Stack) -> tuple[str, ...]:
        return tuple(self._titles[index] for index in self._fitted[stack])

    def budget(self, stack: Stack) -> int:
        return self._room - self._costs[self._fitted[stack]]

    def _fit(self, pending: dict[Stack, Stack], meter: TokenMeter) -> None:
        """Measure all candidates in one batch; remove the root of those that do not fit, and measure again."""
        while pending:
            unknown = sorted(set(pending.values()) - self._costs.keys())
            lines = [" > ".join(self._titles[index] for index in stack) + "\n" for stack in unknown]
            self._costs.update(zip(unknown, meter.costs(lines), strict=True))
            fits = {stack for stack, candidate in pending.items() if self._costs[candidate] <= self._room // 2}
            self._fitted |= {stack: pending[stack] for stack in fits}
            pending = {stack: candidate[1:] for stack, candidate in pending.items() if stack not in fits}
