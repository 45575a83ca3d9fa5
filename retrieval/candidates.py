"""Candidates for an answer."""

from __future__ import annotations

import msgspec

from retrieval.citations import Citation, Scores


class Candidate(msgspec.Struct, frozen=True):
    """A chunk that may be shown.

    `score`: higher is better. `citations`: its sources that may be read and pass the filters, never empty. `parent`: as
    `retrieval.citations.Cited` has it.
    """

    chunk: str
    text: str
    heading_path: tuple[str, ...]
    score: float
    citations: tuple[Citation, ...]
    parent: str | None = None
    scores: Scores = Scores()

    @property
    def place(self) -> tuple[float, str]:
        """What rankings are sorted by."""
        return -self.score, self.chunk
