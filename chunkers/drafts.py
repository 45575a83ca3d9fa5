"""Drafts → chunks: every chunk is counted exactly, and what is over the limit is split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from chunkers.bonds import SizedPiece, bisect
from chunkers.meter import TokenMeter
from chunkers.pieces import Piece, halve
from core.errors import DocumentError
from core.records import Chunk, embedded_text, text_hash


@dataclass(frozen=True)
class Draft:
    """A chunk before its tokens are counted exactly. `parent`: the number of what answers in its place."""

    path: tuple[str, ...]
    pieces: Sequence[Piece]
    parent: int | None = None

    @property
    def text(self) -> str:
        first, *rest = self.pieces
        lead = f"{first.lead}\n" if first.lead else ""
        return lead + first.text + "".join(piece.joint + piece.text for piece in rest)

    @property
    def embedded(self) -> str:
        return embedded_text(self.path, self.text)


def chunks(drafts: Iterable[Draft], meter: TokenMeter) -> list[Chunk]:
    """The drafts as chunks, in their order; those over the meter's limit become several.

    Under some tokenizers the costs of pieces add up only approximately; this makes the limit exact. Raises DocumentError
    (`chunk-over-budget`) if a single character exceeds the limit.
    """
    counted = list(_within_limit(drafts, meter))
    parents = _ranges([draft.parent for draft, _ in counted])
    return [_chunk(ordinal, draft, count, parents.get(draft.parent)) for ordinal, (draft, count) in enumerate(counted)]


def drafted(path: tuple[str, ...], group: Sequence[SizedPiece], parent: int | None = None) -> Draft:
    """The draft of pieces that `pack` put together."""
    return Draft(path, [part.piece for part in group], parent)


def _within_limit(drafts: Iterable[Draft], meter: TokenMeter) -> Iterator[tuple[Draft, int]]:
    drafts = list(drafts)
    for draft, count in zip(drafts, meter.exact([draft.embedded for draft in drafts]), strict=True):
        if count <= meter.max_tokens:
            yield draft, count
        else:
            yield from _within_limit(_split(draft), meter)


def _split(draft: Draft) -> list[Draft]:
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


def _ranges(parents: Sequence[int | None]) -> dict[int | None, tuple[int, int]]:
    """Each parent's first and last ordinal."""
    out: dict[int | None, tuple[int, int]] = {}
    for ordinal, parent in enumerate(parents):
        if parent is not None:
            out[parent] = out.get(parent, (ordinal, ordinal))[0], ordinal
    return out


def _chunk(ordinal: int, draft: Draft, count: int, parent: tuple[int, int] | None) -> Chunk:
    return Chunk(ordinal, draft.text, text_hash(draft.embedded), count, draft.path, draft.pieces[0].page, parent)
