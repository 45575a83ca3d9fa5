"""The answer to a request."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from retrieval.citations import Passage
from retrieval.request import Mode
from retrieval.rerank import Reranked


class Answer(msgspec.Struct, frozen=True):
    """The passages, best first; it is read as their sequence.

    `cursor`: of the next page; empty if there is none, or if the request reorders. `generation`: of the index that was searched, and the
    name of its `model`; None and empty if the tenant has no index yet. `weight`: of the cosine (mode `hybrid`). `took_s`: seconds.
    `reranked`: what became of the request to; if it failed or took too long, the passages are in their order without it.

    `undescribed`: with filters, how many documents that may be read were indexed before there were filters and are left out until they are
    indexed again.

    How many passages the caller may not read is not in it: whoever asks often enough would learn what those say.
    """

    passages: tuple[Passage, ...]
    mode: Mode
    cursor: str = ""
    generation: int | None = None
    model: str = ""
    weight: float | None = None
    took_s: float = 0.0
    reranked: Reranked = "no"
    undescribed: int = 0

    def __iter__(self) -> Iterator[Passage]:
        return iter(self.passages)

    def __len__(self) -> int:
        return len(self.passages)

    def __getitem__(self, at: int) -> Passage:
        return self.passages[at]
