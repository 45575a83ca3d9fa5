"""The answer: passages, and the citations that say where each comes from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from core.records import convert


class Citation(msgspec.Struct, frozen=True):
    """One readable source of a passage. `document` is its id after redaction; `page` is 1-based, None if the format has no pages."""

    document: str
    document_key: str
    title: str
    uri: str
    page: int | None
    ordinal: int
    sequence: int


class Passage(msgspec.Struct, frozen=True):
    """A passage found: its chunk's id, its text, the headings above it, its score, and its readable sources.

    The score of a vector search is the cosine similarity to the query, -1 to 1.
    """

    chunk: str
    text: str
    heading_path: tuple[str, ...]
    score: float
    citations: tuple[Citation, ...]


def citations(sources: Iterable[Any]) -> tuple[Citation, ...]:
    """Citations from the JSON objects that SQL returns, in their order."""
    return tuple(convert(source, Citation) for source in sources)
