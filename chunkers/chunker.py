"""The chunker: measure sections in one batch, pack their pieces into chunks, and count every chunk as the model will read it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b

from chunkers.bonds import bisect, pack
from chunkers.meter import CountTokens, TokenMeter
from chunkers.outline import outline
from chunkers.pieces import Piece, halve
from chunkers.sizing import sized
from core.errors import ConfigurationError, DocumentError
from core.records import Block, Chunk, embedded_text

VERSION = 1
"""Raise it whenever the same blocks would give other chunks."""

MIN_TOKENS = 8


@dataclass(frozen=True)
class Chunker:
    """Splits documents for one tokenizer.

    `count_tokens` counts the tokens of each text, special tokens and passage prompt included; `tokenizer` is its identity. It is not
    called before the first document, so that a fingerprint loads no model. `max_tokens` limits a chunk.
    Raises ConfigurationError if `max_tokens` is under 8.
    """

    count_tokens: CountTokens = field(repr=False)
    max_tokens: int
    tokenizer: str

    def __post_init__(self) -> None:
        if self.max_tokens < MIN_TOKENS:
            raise ConfigurationError(f"max_tokens must be at least {MIN_TOKENS}, was: {self.max_tokens}")

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides a document's chunks (`VERSION`, the limit, the tokenizer), 32 hex characters."""
        return _hash(f"chunker {VERSION} {self.max_tokens} {self.tokenizer}")

    def split(self, blocks: Sequence[Block]) -> list[Chunk]:
        """Split a document into chunks, in reading order.

        Guarantees: no chunk's `embedded_text` exceeds `max_tokens`; no chunk spans two sections; every word is in one chunk, and only
        headings (as paths) and a table's first row are repeated. Raises DocumentError (`chunk-over-budget`) if a single character
        exceeds `max_tokens`.
        """
        drafts = [draft for section in self._sections(blocks) for draft in section]
        counted = _ExactCounter(self._meter, self.max_tokens).within_limit(drafts)
        return [_chunk(ordinal, draft, count) for ordinal, (draft, count) in enumerate(counted)]

    @cached_property
    def _meter(self) -> TokenMeter:
        return TokenMeter(self.count_tokens, self.max_tokens)

    def _sections(self, blocks: Sequence[Block]) -> Iterator[list[_Draft]]:
        sections = outline(blocks, self._meter)
        for section, parts in zip(sections, sized(sections, self._meter), strict=True):
            yield [_Draft(section.path, group) for group in pack(parts, section.budget)]


@dataclass(frozen=True)
class _Draft:
    """A chunk before its tokens are counted exactly."""

    path: tuple[str, ...]
    pieces: Sequence[Piece]

    @property
    def text(self) -> str:
        first, *rest = self.pieces
        lead = f"{first.lead}\n" if first.lead else ""
        return lead + first.text + "".join(piece.joint + piece.text for piece in rest)

    @property
    def embedded(self) -> str:
        return embedded_text(self.path, self.text)


def _chunk(ordinal: int, draft: _Draft, count: int) -> Chunk:
    return Chunk(ordinal, draft.text, _hash(draft.embedded), count, draft.path, draft.pieces[0].page)


def _hash(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()


class _ExactCounter:
    """Counts drafts exactly, and splits those over the limit.

    Under some tokenizers the costs of pieces add up only approximately; this makes the limit exact.
    """

    def __init__(self, meter: TokenMeter, max_tokens: int) -> None:
        self._meter, self._max_tokens = meter, max_tokens

    def within_limit(self, drafts: Iterable[_Draft]) -> Iterator[tuple[_Draft, int]]:
        drafts = list(drafts)
        for draft, count in zip(drafts, self._meter.exact([draft.embedded for draft in drafts]), strict=True):
            if count <= self._max_tokens:
                yield draft, count
            else:
                yield from self.within_limit(_split(draft))


def _split(draft: _Draft) -> list[_Draft]:
    """Split a draft that is too long in two, or drop what is dispensable: the lead, then the path from its root."""
    if len(draft.pieces) > 1:
        return [replace(draft, pieces=half) for half in bisect(draft.pieces)]
    if draft.pieces[0].lead:
        return [replace(draft, pieces=[replace(draft.pieces[0], lead="")])]
    parted = halve(draft.pieces[0])
    if len(parted) > 1 or parted[0].text != draft.pieces[0].text:
        return [replace(draft, pieces=[piece]) for piece in parted]
    if draft.path:
        return [replace(draft, path=draft.path[1:])]
    raise DocumentError("a single character has more tokens than a chunk may have", reason="chunk-over-budget")
