"""Rankings: chunks of a scope by score, and how far down they are complete."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from retrieval.fusion import Scored


class Ranked(msgspec.Struct, frozen=True):
    """One score's best chunks: chunk → score, best first. `is_all`: no other chunk of the scope has one."""

    scores: Mapping[str, float]
    is_all: bool

    @property
    def last(self) -> float | None:
        """What no other chunk exceeds; None if there is no other."""
        return None if self.is_all else min(self.scores.values(), default=None)


class Ranking(msgspec.Struct, frozen=True):
    """Chunks, best first, equal ones by id. `floor`: every chunk that is missing comes after this place; None if none is missing."""

    chunks: Sequence[Scored]
    floor: tuple[float, str] | None = None


Rank = Callable[[int], Ranking]
"""Ranks so many chunks at least, if there are so many: the same places whatever the number."""
