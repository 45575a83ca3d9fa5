"""Candidates for an answer, and the interface of what generates them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec

from core.tenancy import Connection
from retrieval.citations import Citation
from retrieval.request import SearchRequest

OpenReader = Callable[[], AbstractContextManager[Connection]]
"""Opens a transaction under the tenant's reader role, in which all statements see the same state: each document in one version."""


class Candidate(msgspec.Struct, frozen=True):
    """A chunk that one generator proposes.

    `score`: higher is better; comparable only with scores on the same scale. `citations`: its readable sources, never empty. `parent`: as
    `retrieval.citations.Cited` has it.
    """

    chunk: str
    text: str
    heading_path: tuple[str, ...]
    score: float
    citations: tuple[Citation, ...]
    parent: str | None = None


class CandidateGenerator(Protocol):
    """One way to find chunks.

    Guarantees: at most `request.limit` candidates, best first, each chunk once, in an order that repeats on the same data. Every candidate
    has a source that one of `request.readers` may read, and cites only such sources. All are read in one transaction.
    """

    def candidates(self, open_reader: OpenReader, request: SearchRequest) -> list[Candidate]:
        """Returns no candidates if the tenant has no index yet.

        Raises TenantError, Unavailable, and HeadraceError if the generator does not fit the tenant's index. A model runs outside any
        transaction.
        """
        ...
