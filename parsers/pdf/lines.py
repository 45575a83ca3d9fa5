"""Words → pieces of lines: runs of words with at most a space between them. A line of one column is one piece or a few."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from parsers.pdf.pages import Box, Word, is_bold, is_symbols

BULLET = re.compile(r"[•◦▪‣⁃·●○■□◼◻➢➤✓❖∙\uf0a7\uf0b7\uf0d8–—*-](?:\s+|$)")
NUMBER = re.compile(r"(?:\[\d{1,3}\]|\(?(?:\d{1,3}|[a-zA-Z]|[ivx]{1,5})[.)])(?:\s|$)")
_SECTION = re.compile(r"\d{1,2}(?:\.\d{1,2}){0,4}\.?$")
# maximum gaps, in heights of a word: between words of one text, within a word, after a list marker, after a section number
_SPACE, _WORD_GAP, _MARKER_GAP, _SECTION_GAP = 0.9, 0.12, 4.0, 2.5
_OVERLAP = 0.5
MOST_PIECES = 3000
"""A page with more pieces is not ordinary text: its pieces keep the file's order."""
# height of a band in points: only pieces in the same or neighbouring bands are compared
_BAND = 12.0


@dataclass(frozen=True, eq=False)
class Piece:
    """Words on one base line, in reading order."""

    left: float
    top: float
    right: float
    bottom: float
    words: tuple[Word, ...]

    @property
    def height(self) -> float:
        return max(self.bottom - self.top, 0.1)

    @property
    def box(self) -> Box:
        return Box(self.left, self.top, self.right, self.bottom)

    @cached_property
    def text(self) -> str:
        return text(self.words)

    @cached_property
    def size(self) -> float:
        """The height of the longest word in points, rounded to half points."""
        return round(max(self.words, key=lambda word: len(word.text)).height * 2) / 2

    @property
    def start(self) -> float:
        """The coordinate at which reading starts, growing with the indent: the left edge, or the negated right edge if right-to-left."""
        return -self.right if self.right_to_left else self.left

    @cached_property
    def right_to_left(self) -> bool:
        """Whether most characters are written from right to left."""
        return _share(self.words, lambda word: word.right_to_left) > 0.5

    @cached_property
    def bold(self) -> bool:
        return _share(self.words, lambda word: is_bold(word.font)) > 0.9

    @cached_property
    def font(self) -> str:
        """The font of most characters, without the prefix of a subset."""
        characters: Counter[str] = Counter()
        for word in self.words:
            characters[word.font.rpartition("+")[2]] += len(word.text)
        return characters.most_common(1)[0][0]

    @cached_property
    def mono(self) -> bool:
        return _share(self.words, lambda word: word.mono) > 0.9

    @cached_property
    def marker(self) -> int:
        """The length of the list bullet at the start of the text, including white space; 0 if there is none."""
        bullet = BULLET.match(self.text)
        if bullet:
            return bullet.end()
        first = self.words[0]
        symbol = is_symbols(first.font) and len(first.text) == 1 and len(self.words) > 1
        return len(self.text) - len(text(self.words[1:])) if symbol else 0

    @property
    def marked(self) -> bool:
        """Whether it begins with a bullet or a number, as a list item does."""
        return self.marker > 0 or bool(NUMBER.match(self.text))


def pieces(words: Iterable[Word]) -> list[Piece]:
    """The pieces, in the file's order. Vertical words, written from bottom to top, form pieces of their own at the end."""
    horizontal = [word for word in words if not word.vertical]
    runs = [_piece(run, sort=any(word.right_to_left for word in run)) for run in _runs(horizontal)]
    joined = _join(runs) if len(runs) <= MOST_PIECES else runs
    return joined + [_piece(run) for run in _vertical_runs(words)]


def merged(parts: Iterable[Piece]) -> Piece:
    """Pieces of one row as one, from left to right, or from right to left if most of its characters are."""
    return _piece([word for part in parts for word in part.words], sort=True)


def text(words: Iterable[Word]) -> str:
    """The words, joined with spaces unless they touch."""
    joined, last = "", None
    for word in words:
        joined += (" " if last and _is_spaced(last, word) else "") + word.text
        last = word
    return joined


def overlap(one: Piece | Word, other: Piece | Word) -> float:
    """The vertical overlap as a share of the smaller height; negative if there is a gap."""
    return (min(one.bottom, other.bottom) - max(one.top, other.top)) / min(one.height, other.height)


def _share(words: tuple[Word, ...], has: Callable[[Word], bool]) -> float:
    return sum(len(word.text) for word in words if has(word)) / max(1, sum(len(word.text) for word in words))


def _is_spaced(last: Word, word: Word) -> bool:
    """Whether there is a space between two consecutive words."""
    gap = max(word.left - last.right, last.left - word.right, word.top - last.bottom, last.top - word.bottom)
    direction_changes = last.right_to_left != word.right_to_left and last.text[-1].isalpha() and word.text[0].isalpha()
    height = (word.right - word.left) if word.vertical else min(last.height, word.height)
    return direction_changes or gap > _WORD_GAP * height


def _runs(words: list[Word]) -> Iterator[list[Word]]:
    """Runs of words that are consecutive in the file and adjacent on the page."""
    run: list[Word] = []
    for word in words:
        if run and not _follows(run[-1], word):
            yield run
            run = []
        run.append(word)
    if run:
        yield run


def _follows(last: Word, word: Word) -> bool:
    gap = last.left - word.right if word.right_to_left else word.left - last.right
    height = max(last.height, word.height)
    return overlap(last, word) > _OVERLAP and -0.5 * height < gap < _SPACE * height


def _vertical_runs(words: Iterable[Word]) -> Iterator[list[Word]]:
    run: list[Word] = []
    for word in words:
        if word.vertical:
            if run and abs(word.left - run[-1].left) > 1:
                yield run
                run = []
            run.append(word)
    if run:
        yield run


def _piece(words: list[Word], sort: bool = False) -> Piece:
    if sort:
        right_to_left = _share(tuple(words), lambda word: word.right_to_left) > 0.5
        words = _right_to_left(words) if right_to_left else sorted(words, key=lambda word: word.left)
    bounds = min(w.left for w in words), min(w.top for w in words), max(w.right for w in words), max(w.bottom for w in words)
    return Piece(*bounds, tuple(words))


def _right_to_left(words: list[Word]) -> list[Word]:
    """The words of a right-to-left line in reading order; left-to-right runs within it keep their direction."""
    ordered: list[Word] = []
    for right_to_left, group in groupby(sorted(words, key=lambda word: -word.right), key=lambda word: word.right_to_left):
        run = list(group)
        ordered += run if right_to_left else run[::-1]
    return ordered


def _join(runs: list[Piece]) -> list[Piece]:
    """Join pieces that are adjacent on the page but not in the file, and list markers with their items."""
    chains: list[list[int]] = []
    ends: dict[int, list[list[int]]] = {}
    for at in sorted(range(len(runs)), key=lambda at: runs[at].left):
        chain = next((chain for chain in _near(ends, runs[at]) if _are_adjacent(runs[chain[-1]], runs[at])), None)
        if chain is None:
            chains.append(chain := [])
        chain.append(at)
        ends.setdefault(_band(runs[at]), []).append(chain)
    return [merged(runs[at] for at in chain) if len(chain) > 1 else runs[chain[0]] for chain in sorted(chains, key=min)]


def _near(ends: dict[int, list[list[int]]], piece: Piece) -> Iterator[list[int]]:
    """The chains that end in the piece's band or a neighbouring one, the latest first."""
    band = _band(piece)
    for near in (band, band - 1, band + 1):
        yield from reversed(ends.get(near, ()))


def _band(piece: Piece) -> int:
    return int((piece.top + piece.bottom) / 2 / _BAND)


def _are_adjacent(left: Piece, right: Piece) -> bool:
    gap, height = right.left - left.right, max(left.height, right.height)
    return -0.5 * height < gap < _largest_gap(left, right) * height and overlap(left, right) > _OVERLAP


def _largest_gap(left: Piece, right: Piece) -> float:
    if len(left.words) > 1:
        return _SPACE
    mark = left.words[0]
    if BULLET.fullmatch(mark.text) or is_symbols(mark.font) or (NUMBER.fullmatch(mark.text) and not right.text[0].isdigit()):
        return _MARKER_GAP
    numbered = _SECTION.fullmatch(mark.text) and right.text[0].isalpha() and left.bold == right.bold
    return _SECTION_GAP if numbered else _SPACE
