"""How sensitive the outputs of stages are: `sealed` if they precede redaction, so that they are encrypted at rest, else `redacted`."""

from __future__ import annotations

from collections.abc import Iterable

SEALED = frozenset({"land", "parse"})
"""The stages whose output precedes redaction: the event's content, and the parsed document."""


def sensitivity(stages: Iterable[str]) -> str:
    """`sealed` if the output of one of these stages is, else `redacted`."""
    return "redacted" if SEALED.isdisjoint(stages) else "sealed"
