"""What landing may make of an event."""

from __future__ import annotations

from typing import Literal, get_args

Fate = Literal["landed", "unchanged", "superseded", "unknown-document", "dead-lettered"]

FATES: tuple[str, ...] = get_args(Fate)
