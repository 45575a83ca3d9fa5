"""The cost of a text in the embedding model's tokens. The caller supplies the tokenizer (`CountTokens`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

CountTokens = Callable[[list[str]], list[int]]
"""Texts → token counts, special tokens and the model's own prompt included, without truncating."""

CHARACTERS_PER_TOKEN = 16
"""A token covers at most 16 characters, because tokenizers may map an endless word to one unknown token."""

_JOINTS = ("", " ", "\n", "\n\n")


class TokenMeter:
    """Measures against a limit of `max_tokens`, special tokens included."""

    def __init__(self, count_tokens: CountTokens, max_tokens: int) -> None:
        self._count = count_tokens
        self.max_tokens = max_tokens

    @cached_property
    def room(self) -> int:
        """The limit without special tokens."""
        return self.max_tokens - self._specials

    @cached_property
    def _specials(self) -> int:
        return self._count([""])[0]

    @cached_property
    def _joints(self) -> dict[str, int]:
        """Tokens of each joint: none under WordPiece, one under many others."""
        single, *joined = self._count(["a", *(f"a{joint}a" for joint in _JOINTS)])
        return {joint: max(0, both + self._specials - 2 * single) for joint, both in zip(_JOINTS, joined, strict=True)}

    def joint(self, joint: str) -> int:
        """Tokens of a joint."""
        return self._joints.get(joint, 1)

    def exact(self, texts: list[str]) -> list[int]:
        """Exact counts, special tokens included."""
        return self._count(texts) if texts else []

    def costs(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text without special ones, and at least one per 16 characters.

        A text that is too long by its characters alone is not tokenized: tokenizers may take more than linear time.
        """
        floors = [-(-len(text) // CHARACTERS_PER_TOKEN) for text in texts]
        short = [index for index, floor in enumerate(floors) if floor <= self.max_tokens]
        for index, count in zip(short, self.exact([texts[index] for index in short]), strict=True):
            floors[index] = max(floors[index], count - self._specials)
        return floors
