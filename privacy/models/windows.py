"""Splits texts into windows of tokens and groups the windows into batches. Knows no model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Window(NamedTuple):
    """The model reads tokens `[start, end)`; its results count for `[own_start, own_end)`, because the rest is closer to an edge."""

    start: int
    end: int
    own_start: int
    own_end: int


def windows(count: int, size: int) -> list[Window]:
    """Windows of at most `size` of `count` tokens. Neighbours overlap by a quarter; a token counts in the window with more context."""
    step = max(1, size - size // 4)
    starts = [0, *range(step, count - size + step, step)] if count > size else [0]
    # the last one is as long as the others
    starts = [min(start, max(0, count - size)) for start in starts]
    ends = [min(start + size, count) for start in starts]
    edges = [0, *((end + start) // 2 for end, start in zip(ends, starts[1:], strict=False)), count]
    return [Window(*window) for window in zip(starts, ends, edges, edges[1:], strict=False)]


# few enough that every shape occurs early, and close enough that at most half of a batch is padding
_LENGTHS = (32, 64, 128, 256, 512)
BATCH_TOKENS = 2048
"""Tokens in every batch, padding included. Not measured on a GPU; for 12 layers of 768 about a millisecond on a large one."""


def batches(lengths: Sequence[int], limit: int) -> Iterator[tuple[int, int, list[int]]]:
    """Batches as (rows, tokens in a row, indices of its texts), grouped by similar length. There may be fewer `indices` than `rows`.

    The shape of a row's batch follows from the row's own length, so its result does not depend on the other rows: the order of the
    additions in a matrix product depends on the shape, not on the contents.
    """
    by_length: dict[int, list[int]] = defaultdict(list)
    for index, length in enumerate(lengths):
        by_length[next((size for size in _LENGTHS if length <= size < limit), limit)].append(index)
    for size, indices in sorted(by_length.items()):
        rows = max(1, BATCH_TOKENS // size)
        for first in range(0, len(indices), rows):
            yield rows, size, indices[first : first + rows]
