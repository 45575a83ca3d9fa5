"""Blanked texts, in which each surrogate or mask is one character, and the second detector's findings in them."""

from __future__ import annotations

from typing import NamedTuple

from core.surrogates import TOKEN

REPLACED, REPLACED_NAME = "\ue000", "\ue001"
"""The characters for a surrogate or a mask. Those of persons and places have their own, because the rest of a name may be next to them."""

_NAMES = ("PERSON", "LOCATION", "ADDRESS")


class Suspect(NamedTuple):
    """What may be personal, at `[start, end)` of a blanked text. `kind` is an entity, or NAME for a person or a place."""

    start: int
    end: int
    kind: str


def blanked(text: str) -> str:
    """The text with each surrogate and mask replaced by one character."""
    return TOKEN.sub(lambda token: REPLACED_NAME if token[1] in _NAMES else REPLACED, text)
