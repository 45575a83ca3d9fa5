"""`recursive` and `fixed`: the document as one plain text, cut at separators, without regard to its structure, with or without overlap.

Headings stand in the text as paragraphs, so that chunks have no heading path.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from chunkers.drafts import Draft, chunks
from chunkers.meter import CHARACTERS_PER_TOKEN, TokenMeter
from chunkers.pieces import Piece, is_empty, pieces
from chunkers.text import Part, halves, sentences
from core.records import Block, Chunk


def recursive(blocks: Sequence[Block], meter: TokenMeter, overlap: int = 0) -> list[Chunk]:
    """The rule of LangChain's `RecursiveCharacterTextSplitter`, in tokens.

    Cut at paragraphs; what is too long is cut at lines, then at sentences, then at spaces; parts of one cut are joined, from the first
    on, while they fit. Each chunk begins with up to `overlap` tokens, in whole words, of what is before it.
    """
    return _cut(blocks, meter, (_at(r"\n\n"), _at(r"\n"), sentences, _at(r"\s"), halves), overlap)


def fixed(blocks: Sequence[Block], meter: TokenMeter, overlap: int = 0) -> list[Chunk]:
    """As many words as fit, one window after the other. Each begins with up to `overlap` tokens, in whole words, of what is before it."""
    return _cut(blocks, meter, (_at(r"\s+"), halves), overlap)


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


def _cut(blocks: Sequence[Block], meter: TokenMeter, separators: Sequence[Separator], overlap: int) -> list[Chunk]:
    text = _plain(blocks)
    windows = _Windows(meter, max(1, meter.room - overlap)).of(text.text, separators)
    starts = ((start - len(_end(text.text[:start], overlap, meter)), start + len(window)) for start, window in windows)
    return chunks((draft for start, end in starts if (draft := text.draft(start, text.text[start:end]))), meter)


def _end(text: str, tokens: int, meter: TokenMeter) -> str:
    """The last whole words of a text, of at most so many tokens together, and what separates them from its end."""
    found = list(_WORDS.finditer(text, max(0, len(text) - tokens * CHARACTERS_PER_TOKEN)))[-tokens:] if tokens else []
    kept = len(text)
    for word, cost in zip(reversed(found), reversed(meter.costs([word[0] for word in found])), strict=True):
        tokens -= cost + meter.joint(" ")
        if tokens < 0 or (word.start() and not text[word.start() - 1].isspace()):
            break
        kept = word.start()
    return text[kept:]


_WORDS = re.compile(r"\S+")


@dataclass(frozen=True)
class _Windows:
    """Cuts texts into windows of at most `room` tokens."""

    meter: TokenMeter
    room: int

    def of(self, text: str, separators: Sequence[Separator], at: int = 0) -> Iterator[tuple[int, str]]:
        """(start, text) of each window; `at` is where `text` starts."""
        separator, *finer = separators
        parts = separator(text)
        window, total, start = "", 0, at
        for part, cost in zip(parts, self.meter.costs([part.text for part in parts]), strict=True):
            joint = self.meter.joint(part.joint) if window else 0
            if window and total + joint + cost > self.room:
                yield start, window
                window, total, joint = "", 0, 0
            at += len(part.joint)
            if cost > self.room and (finer or part.text != text):
                yield from self.of(part.text, finer or separators, at)
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
