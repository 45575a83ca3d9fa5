"""The difference of two similar texts, for people and for models: a changed number can be all there is."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher
from itertools import chain

CONTEXT = 2
"""Words that are shown around a change."""
LONGEST = 300
"""Characters of a difference; a longer one is cut off with `…`."""

Opcode = tuple[str, int, int, int, int]


def difference(shown: str, other: str) -> str:
    """What the other text has in place of the shown one's words, as `wdiff` writes it: `[-removed-] {+added+}`, `…` for what is the same.

    White space does not count. Empty if the words are the same.
    """
    before, after = shown.split(), other.split()
    groups = SequenceMatcher(None, before, after, autojunk=False).get_grouped_opcodes(CONTEXT)
    parts = [" ".join(chain.from_iterable(_words(opcode, before, after) for opcode in group)) for group in groups]
    whole = " … ".join(parts)
    return whole if len(whole) <= LONGEST else whole[: LONGEST - 1] + "…"


def _words(opcode: Opcode, before: list[str], after: list[str]) -> Iterator[str]:
    kind, begin, end, other_begin, other_end = opcode
    if kind == "equal":
        yield from before[begin:end]
        return
    if end > begin:
        yield f"[-{' '.join(before[begin:end])}-]"
    if other_end > other_begin:
        yield f"{{+{' '.join(after[other_begin:other_end])}+}}"
