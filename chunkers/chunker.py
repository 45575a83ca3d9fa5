"""The chunker: sections are measured in one batch, shared out by bonds, and every chunk is counted as the model will see it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b

from chunkers.bonds import part, share
from chunkers.outline import outline
from chunkers.pieces import Piece, halve
from chunkers.ruler import CountTokens, Ruler
from chunkers.sizing import sized
from core.errors import ConfigurationError, DocumentError
from core.records import Block, Chunk, embedded_text

VERSION = 1
"""Raised whenever the same blocks would give other chunks."""

LEAST_TOKENS = 8


@dataclass(frozen=True)
class Chunker:
    """Cuts documents for one tokenizer.

    `count_tokens` counts what the model would read of each text, special tokens and passage prompt included; `tokenizer` is its
    identity. It is not called before the first document, so that a fingerprint costs no model. `max_tokens` is in its tokens.
    Raises ConfigurationError where `max_tokens` is under 8.
    """

    count_tokens: CountTokens = field(repr=False)
    max_tokens: int
    tokenizer: str

    def __post_init__(self) -> None:
        if self.max_tokens < LEAST_TOKENS:
            raise ConfigurationError(f"max_tokens must be at least {LEAST_TOKENS}, was: {self.max_tokens}")

    @property
    def fingerprint(self) -> str:
        """32 hex characters over everything that decides the chunks of a document: this code's version, the bound, the tokenizer."""
        return _hash(f"chunker {VERSION} {self.max_tokens} {self.tokenizer}")

    def split(self, blocks: Sequence[Block]) -> list[Chunk]:
        """The chunks of a document, in reading order.

        Always: no chunk's `embedded_text` exceeds `max_tokens`; no chunk spans two sections; every word is in one chunk, and only
        headings (as paths) and a table's first row are repeated. Raises DocumentError (`chunk-over-budget`) where one character
        alone is more than `max_tokens`.
        """
        drafts = [draft for section in self._sections(blocks) for draft in section]
        counted = _Counted(self._ruler, self.max_tokens).of(drafts)
        return [_chunk(ordinal, draft, count) for ordinal, (draft, count) in enumerate(counted)]

    @cached_property
    def _ruler(self) -> Ruler:
        return Ruler(self.count_tokens, self.max_tokens)

    def _sections(self, blocks: Sequence[Block]) -> Iterator[list[_Draft]]:
        sections = outline(blocks, self._ruler)
        for section, parts in zip(sections, sized(sections, self._ruler), strict=True):
            yield [_Draft(section.path, shared) for shared in share(parts, section.budget)]


@dataclass(frozen=True)
class _Draft:
    """A chunk whose tokens have not been counted exactly."""

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


class _Counted:
    """Drafts with the model's own count; those over the limit are cut until they are not.

    Costs of pieces add up only nearly under some tokenizers; this is what makes the bound exact.
    """

    def __init__(self, ruler: Ruler, max_tokens: int) -> None:
        self._ruler, self._max_tokens = ruler, max_tokens

    def of(self, drafts: Iterable[_Draft]) -> Iterator[tuple[_Draft, int]]:
        drafts = list(drafts)
        for draft, count in zip(drafts, self._ruler.exact([draft.embedded for draft in drafts]), strict=True):
            if count <= self._max_tokens:
                yield draft, count
            else:
                yield from self.of(_smaller(draft))


def _smaller(draft: _Draft) -> list[_Draft]:
    """What is too long, in two; or what can be done without: the lead, then the path from its root."""
    if len(draft.pieces) > 1:
        return [replace(draft, pieces=half) for half in part(draft.pieces)]
    if draft.pieces[0].lead:
        return [replace(draft, pieces=[replace(draft.pieces[0], lead="")])]
    parted = halve(draft.pieces[0])
    if len(parted) > 1 or parted[0].text != draft.pieces[0].text:
        return [replace(draft, pieces=[piece]) for piece in parted]
    if draft.path:
        return [replace(draft, path=draft.path[1:])]
    raise DocumentError("one character alone is more tokens than a chunk may have", reason="chunk-over-budget")
