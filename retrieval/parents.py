"""Parents: several chunks that one larger text answers for are one passage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from retrieval.candidates import Candidate


def once(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates, best first, each parent once: by its best chunk."""
    return list(_once(candidates))


def _once(candidates: Sequence[Candidate]) -> Iterator[Candidate]:
    seen: set[str] = set()
    for candidate in candidates:
        if candidate.parent not in seen:
            yield candidate
        if candidate.parent is not None:
            seen.add(candidate.parent)
