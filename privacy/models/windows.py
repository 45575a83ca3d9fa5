"""Which tokens of a text a model sees at once, and which texts stand in one batch. No model is known here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Window(NamedTuple):
    """Tokens `[start, end)` are shown; what the model says of `[own_start, own_end)` counts, as the others are nearer to an edge."""

    start: int
    end: int
    own_start: int
    own_end: int


def windows(count: int, size: int) -> list[Window]:
    """Windows of at most `size` of `count` tokens. Neighbours share a quarter; each token counts in the one that shows more around it."""
    step = max(1, size - size // 4)
    starts = [0, *range(step, count - size + step, step)] if count > size else [0]
    # the last one is as long as the others
    starts = [min(start, max(0, count - size)) for start in starts]
    ends = [min(start + size, count) for start in starts]
    edges = [0, *((end + start) // 2 for end, start in zip(ends, starts[1:], strict=False)), count]
    return [Window(*window) for window in zip(starts, ends, edges, edges[1:], strict=False)]


# so few lengths that every shape is met soon, and so near that at most half of a batch is padding
_LENGTHS = (32, 64, 128, 256, 512)
BATCH_TOKENS = 2048
"""Of a batch, padding included, always: not measured on a GPU; of 12 layers of 768 it is about a millisecond's work for a large one."""


def batches(lengths: Sequence[int], limit: int) -> Iterator[tuple[int, int, list[int]]]:
    """(rows, tokens a row, indices of those that stand in it), rows of similar length together; `indices` may be fewer than `rows`.

    The shape that a row is computed in follows from its own length alone, so its result does not depend on its company: a matrix product
    adds up each row in an order that its shape decides, and not the other rows' contents.
    """
    by_length: dict[int, list[int]] = defaultdict(list)
    for index, length in enumerate(lengths):
        by_length[next((size for size in _LENGTHS if length <= size < limit), limit)].append(index)
    for size, indices in sorted(by_length.items()):
        rows = max(1, BATCH_TOKENS // size)
        for first in range(0, len(indices), rows):
            yield rows, size, indices[first : first + rows]
