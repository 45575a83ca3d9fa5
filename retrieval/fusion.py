"""Fusion: the candidates of several generators as one list."""

from __future__ import annotations

from collections.abc import Sequence

from retrieval.candidates import Candidate


def fuse(lists: Sequence[Sequence[Candidate]]) -> list[Candidate]:
    """Each chunk once, with its best score, best first; equal scores in the order of chunk ids. A single list is returned unchanged.

    The scores must be on the same scale. Between equal scores of a chunk, the candidate of the earlier list is kept.
    """
    if len(lists) == 1:
        return list(lists[0])
    best: dict[str, Candidate] = {}
    for candidate in (candidate for candidates in lists for candidate in candidates):
        if candidate.chunk not in best or best[candidate.chunk].score < candidate.score:
            best[candidate.chunk] = candidate
    return sorted(best.values(), key=lambda candidate: (-candidate.score, candidate.chunk))
