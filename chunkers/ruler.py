"""What a text costs, in the embedding model's tokens. The tokenizer itself is somebody else's (`CountTokens`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

CountTokens = Callable[[list[str]], list[int]]
"""Texts → what the model would read of each, special tokens and the model's own prompt included, nothing truncated."""

CHARACTERS_PER_TOKEN = 16
"""A token pays for at most so many characters: tokenizers may map an endless word to one unknown token."""

_JOINTS = ("", " ", "\n", "\n\n")


class Ruler:
    """Measures against a limit of `max_tokens`, special tokens included."""

    def __init__(self, count_tokens: CountTokens, max_tokens: int) -> None:
        self._count = count_tokens
        self._max_tokens = max_tokens

    @cached_property
    def room(self) -> int:
        """Tokens that are left for text once the special tokens are paid."""
        return self._max_tokens - self._specials

    @cached_property
    def _specials(self) -> int:
        return self._count([""])[0]

    @cached_property
    def _joints(self) -> dict[str, int]:
        """Tokens that a joint adds: none under WordPiece, one under many others."""
        apart, *together = self._count(["a", *(f"a{joint}a" for joint in _JOINTS)])
        return {joint: max(0, both + self._specials - 2 * apart) for joint, both in zip(_JOINTS, together, strict=True)}

    def joint(self, joint: str) -> int:
        """What a joint costs."""
        return self._joints.get(joint, 1)

    def exact(self, texts: list[str]) -> list[int]:
        """The model's own count of each text, special tokens included."""
        return self._count(texts) if texts else []

    def costs(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text without the special ones, and at least one for every 16 characters.

        A text that is too long by its characters alone never reaches the tokenizer, which may be slower than linear in it.
        """
        floors = [-(-len(text) // CHARACTERS_PER_TOKEN) for text in texts]
        short = [index for index, floor in enumerate(floors) if floor <= self._max_tokens]
        for index, count in zip(short, self.exact([texts[index] for index in short]), strict=True):
            floors[index] = max(floors[index], count - self._specials)
        return floors
