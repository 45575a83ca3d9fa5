"""`recursive` and `fixed`: the document as one plain text, cut at separators, without regard to its structure.

Headings stand in the text as paragraphs, so that chunks have no heading path.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from chunkers.drafts import Draft, chunks
from chunkers.meter import TokenMeter
from chunkers.pieces import Piece, is_empty, pieces
from chunkers.text import Part, halves, sentences
from core.records import Block, Chunk


def recursive(blocks: Sequence[Block], meter: TokenMeter) -> list[Chunk]:
    """The rule of LangChain's `RecursiveCharacterTextSplitter` without overlap, in tokens.

    Cut at paragraphs; what is too long is cut at lines, then at sentences, then at spaces; parts of one cut are joined, from the first
    on, while they fit.
    """
    return _cut(blocks, meter, (_at(r"\n\n"), _at(r"\n"), sentences, _at(r"\s"), halves))


def fixed(blocks: Sequence[Block], meter: TokenMeter) -> list[Chunk]:
    """As many words as fit, one window after the other, without overlap."""
    return _cut(blocks, meter, (_at(r"\s+"), halves))


Separator = Callable[[str], list[Part]]
"""A text → its parts; with their joints they are the text."""


def _at(pattern: str) -> Separator:
    compiled = re.compile(pattern)
    return lambda text: list(_parts(compiled, text))


def _parts(separator: re.Pattern[str], text: str) -> Iterator[Part]:
    start, joint = 0, ""
    for found in separator.finditer(text):
        yield Part(joint, text[start : found.start()])
        start, joint = found.end(), found[0]
    yield Part(joint, text[start:])


def _cut(blocks: Sequence[Block], meter: TokenMeter, separators: Sequence[Separator]) -> list[Chunk]:
    text = _plain(blocks)
    return chunks((draft for window in _windows(text.text, separators, meter) if (draft := text.draft(*window))), meter)


def _windows(text: str, separators: Sequence[Separator], meter: TokenMeter, at: int = 0) -> Iterator[tuple[int, str]]:
    """(start, text) of each chunk; `at` is where `text` starts."""
    separator, *finer = separators
    parts = separator(text)
    window, total, start = "", 0, at
    for part, cost in zip(parts, meter.costs([part.text for part in parts]), strict=True):
        joint = meter.joint(part.joint) if window else 0
        if window and total + joint + cost > meter.room:
            yield start, window
            window, total, joint = "", 0, 0
        at += len(part.joint)
        if cost > meter.room and (finer or part.text != text):
            yield from _windows(part.text, finer or separators, meter, at)
        else:
            start = start if window else at
            window, total = (window + part.joint if window else "") + part.text, total + joint + cost
        at += len(part.text)
    if window:
        yield start, window


@dataclass(frozen=True)
class _Plain:
    """A document's text; the start and the page of each of its pieces."""

    text: str
    starts: Sequence[int]
    pages: Sequence[int | None]

    def draft(self, start: int, window: str) -> Draft | None:
        """The draft of a window of the text; None if it has nothing visible."""
        if not (text := window.strip()):
            return None
        first = start + window.index(text)
        return Draft((), [Piece(text, page=self.pages[bisect_right(self.starts, first) - 1])])


def _plain(blocks: Sequence[Block]) -> _Plain:
    """An empty line between paragraphs; a line end between list items, rows (cells with bars between them) and lines of code."""
    found = pieces([block for block in blocks if not is_empty(block)])
    texts = [(piece.joint if at else "") + piece.text for at, piece in enumerate(found)]
    starts, at = [], 0
    for piece, text in zip(found, texts, strict=True):
        starts.append(at + len(text) - len(piece.text))
        at += len(text)
    return _Plain("".join(texts), starts, [piece.page for piece in found])
