"""The interface of a loaded names model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Span(NamedTuple):
    """A name at `[start, end)` of the text, in characters. `label`: PERSON, LOCATION or ORGANIZATION; `score`: the confidence, 0 to 1."""

    start: int
    end: int
    label: str
    score: float


class Reader(Protocol):
    """A loaded model. Thread-safe."""

    @property
    def identity(self) -> str:
        """Changes whenever a result may change. Covers the files and the libraries that run them, not their path and not the device."""
        ...

    @property
    def together(self) -> bool:
        """Whether reading many texts in one call is faster than one call for each."""
        ...

    def read(self, texts: Sequence[str]) -> list[list[Span]]:
        """The names in each text, in reading order and without overlaps.

        The result for a text does not depend on the other texts. Raises Unavailable if the device fails.
        """
        ...
