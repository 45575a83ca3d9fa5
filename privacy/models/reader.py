"""What is asked of every model, whichever library runs it, and the one that is loaded for all who ask for the same files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

from privacy.models.found import Found


class Span(NamedTuple):
    """A name at `[start, end)` of the text in characters. `label`: PERSON, LOCATION or ORGANIZATION; `score`: 0-1, how sure it is."""

    start: int
    end: int
    label: str
    score: float


class Reader(Protocol):
    """A loaded model. Threads share it."""

    @property
    def identity(self) -> str:
        """Changes whenever a result may: of the files, and of the libraries that run them; not of the device, nor of where they lie."""
        ...

    @property
    def together(self) -> bool:
        """Whether many texts at once are read faster than one after the other."""
        ...

    def read(self, texts: Sequence[str]) -> list[list[Span]]:
        """Of each text its names in reading order, none overlapping another.

        What is found in a text does not depend on the other texts. Raises Unavailable where a device fails.
        """
        ...


@lru_cache(maxsize=4)
def loaded(found: Found) -> Reader:
    """Raises ConfigurationError where the model cannot be loaded, or knows neither people nor places."""
    if found.kind == "spacy":
        from privacy.models.spacy_model import SpacyReader

        return SpacyReader(found)
    if found.kind == "gliner":
        from privacy.models.gliner_model import GlinerReader

        return GlinerReader(found)
    from privacy.models.transformer import TransformerReader

    return TransformerReader(found)
