"""What redaction left in a value's place, read as one character; and what the second detector says of a place in such a text."""

from __future__ import annotations

from typing import NamedTuple

from core.surrogates import TOKEN

GONE, GONE_NAME = "\ue000", "\ue001"
"""For a surrogate or a mask; the second one for those of persons and places, beside which the rest of a name may stand."""

_OF_NAMES = ("PERSON", "LOCATION", "ADDRESS")


class Suspect(NamedTuple):
    """What may be personal, at `[start, end)` of a text as `blanked` gives it. `kind` is an entity, or NAME: of a person or a place."""

    start: int
    end: int
    kind: str


def blanked(text: str) -> str:
    """The text with one character in place of each surrogate and mask."""
    return TOKEN.sub(lambda token: GONE_NAME if token[1] in _OF_NAMES else GONE, text)
