"""Rankings of documents: what an evaluation judges. A document stands where its best passage does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from retrieval.candidates import Candidate
from retrieval.pages import MOST_CANDIDATES

Read = Callable[[int], tuple[Sequence[Candidate], tuple[float, str] | None]]
"""So many candidates, best first, without collapse, and the place down to which none is missing (`retrieval.pages.readable`)."""


def documents(read: Read, depth: int) -> list[str]:
    """The keys of the first `depth` documents, best first; fewer if no more are found among `MOST_CANDIDATES` candidates."""
    look = min(depth + depth // 2, MOST_CANDIDATES)
    while True:
        candidates, floor = read(look)
        is_last = floor is None or look == MOST_CANDIDATES
        known = candidates if is_last else [one for one in candidates if one.place <= floor]  # type: ignore[operator]
        found = list(dict.fromkeys(cited.document_key for one in known for cited in one.citations))
        if len(found) >= depth or is_last:
            return found[:depth]
        look = min(2 * look, MOST_CANDIDATES)
