"""The interface of a loaded names model, and a cache of loaded models by their files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

from privacy.models.files import ModelFiles


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


@lru_cache(maxsize=4)
def loaded(files: ModelFiles) -> Reader:
    """The loaded model. Raises ConfigurationError if it cannot be loaded, or labels neither people nor places."""
    if files.kind == "spacy":
        from privacy.models.spacy_model import SpacyReader

        return SpacyReader(files)
    if files.kind == "gliner":
        from privacy.models.gliner_model import GlinerReader

        return GlinerReader(files)
    from privacy.models.transformer import TransformerReader

    return TransformerReader(files)
