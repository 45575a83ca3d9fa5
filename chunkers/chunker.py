"""The chunker: a tenant's strategies and limit, for one tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from chunkers.allowance import MOST_CHUNKS, most_chunks
from chunkers.meter import CountTokens, TokenMeter
from chunkers.semantic import Encode
from chunkers.strategies import STRATEGIES, Strategy
from core.errors import ConfigurationError
from core.records import Block, Chunk, text_hash

VERSION = 2
"""Raise it whenever the same blocks would give other chunks under every strategy."""

MIN_TOKENS = 8


@dataclass(frozen=True)
class Chunker:
    """Splits documents for one tokenizer.

    `count_tokens` counts the tokens of each text, special tokens and passage prompt included; `tokenizer` is its identity. It is not
    called before the first document, so that a fingerprint loads no model. `max_tokens` limits a chunk. `strategy` is a name in
    `STRATEGIES`, and `formats` names others for documents of some formats. `encode` and `model`, its identity, are the embedding model's,
    for strategies that embed. `overlap`: how many tokens chunks have in common, for strategies that overlap.

    Raises ConfigurationError if `max_tokens` is under 8, if `overlap` is half of it or more, if there is no such strategy, and if a
    strategy that embeds has no `encode`.
    """

    count_tokens: CountTokens = field(repr=False)
    max_tokens: int
    tokenizer: str
    strategy: str = "structure"
    formats: Mapping[str, str] = field(default_factory=dict)
    encode: Encode | None = field(default=None, repr=False)
    model: str = ""
    overlap: int = 0

    def __post_init__(self) -> None:
        if self.max_tokens < MIN_TOKENS:
            raise ConfigurationError(f"max_tokens must be at least {MIN_TOKENS}, was: {self.max_tokens}")
        if not 0 <= self.overlap < self.max_tokens / 2:
            raise ConfigurationError(f"overlap must be less than half of max_tokens, {self.max_tokens}, was: {self.overlap}")
        for name in self._named:
            if name not in STRATEGIES:
                raise ConfigurationError(f"a chunking strategy must be one of {', '.join(STRATEGIES)}, was: {name!r}")
            if STRATEGIES[name].embeds and self.encode is None:
                raise ConfigurationError(f"the chunking strategy {name!r} needs an embedding model")

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides a document's chunks: versions, strategies, the limit, the tokenizer, and the embedding model if
        a strategy embeds, and the overlap if one overlaps. 32 hex characters."""
        versions = [f"{name} {STRATEGIES[name].version}" for name in sorted({*self._named})]
        choice = [f"default {self.strategy}", *(f"{kind} {name}" for kind, name in sorted(self.formats.items()))]
        model = [self.model] if any(STRATEGIES[name].embeds for name in self._named) else []
        overlap = [f"overlap {self.overlap}"] if self.overlap and any(STRATEGIES[name].overlaps for name in self._named) else []
        return text_hash("\n".join([f"chunker {VERSION} {self.max_tokens} {self.tokenizer}", *versions, *choice, *model, *overlap]))

    def split(self, blocks: Sequence[Block], form: str = "") -> list[Chunk]:
        """Split a document of this format into chunks, in reading order.

        No chunk's `embedded_text` exceeds `max_tokens`, and every word is in a chunk. Raises DocumentError (`chunk-over-budget`) if a
        single character exceeds `max_tokens`, and what `encode` raises.
        """
        return self._of(form)(blocks, self._meter, self.encode, self.overlap)

    def most(self, blocks: Sequence[Block], form: str = "") -> int:
        """How many chunks a document of this format with these blocks may have: `chunkers.allowance`."""
        return MOST_CHUNKS if self._of(form).small else most_chunks(blocks, self.max_tokens)

    def _of(self, form: str) -> Strategy:
        return STRATEGIES[self.formats.get(form, self.strategy)]

    @property
    def _named(self) -> list[str]:
        return [self.strategy, *self.formats.values()]

    @cached_property
    def _meter(self) -> TokenMeter:
        return TokenMeter(self.count_tokens, self.max_tokens)
