"""Words → pieces of lines: words beside each other with no more than a space between. A line of one column is one piece or a few."""

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
# in heights of a word: what is between words of one text, between letters of one word, and behind a list's marker at most
_SPACE, _WORD_GAP, _MARKER_GAP, _SECTION_GAP = 0.9, 0.12, 4.0, 2.5
_OVERLAP = 0.5
MOST_PIECES = 3000
"""What has more on one page is no page that anybody reads: its pieces are left as they come."""
# in points: base lines nearer than two of them may be one line
_BAND = 12.0


@dataclass(frozen=True, eq=False)
class Piece:
    """Words on one base line, in the order in which they are read."""

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
        """The height of its longest word, in half points."""
        return round(max(self.words, key=lambda word: len(word.text)).height * 2) / 2

    @property
    def start(self) -> float:
        """How far in from its side it begins: from the left, or from the right where it is written backwards."""
        return -self.right if self.backwards else self.left

    @cached_property
    def backwards(self) -> bool:
        return _share(self.words, lambda word: word.backwards) > 0.5

    @cached_property
    def bold(self) -> bool:
        return _share(self.words, lambda word: is_bold(word.font)) > 0.9

    @cached_property
    def font(self) -> str:
        """The font of most of it, without the mark of a subset."""
        characters: Counter[str] = Counter()
        for word in self.words:
            characters[word.font.rpartition("+")[2]] += len(word.text)
        return characters.most_common(1)[0][0]

    @cached_property
    def mono(self) -> bool:
        return _share(self.words, lambda word: word.mono) > 0.9

    @cached_property
    def marker(self) -> int:
        """How many characters of the text are a list's bullet, white space included; 0 where there is none."""
        bullet = BULLET.match(self.text)
        if bullet:
            return bullet.end()
        first = self.words[0]
        symbol = is_symbols(first.font) and len(first.text) == 1 and len(self.words) > 1
        return len(self.text) - len(text(self.words[1:])) if symbol else 0

    @property
    def marked(self) -> bool:
        """Whether it begins as an item of a list does."""
        return self.marker > 0 or bool(NUMBER.match(self.text))


def pieces(words: Iterable[Word]) -> list[Piece]:
    """The pieces, in the file's order. Words that stand upright, from bottom to top, make pieces of their own at the end."""
    level = [word for word in words if not word.upright]
    found = [_piece(run, anew=any(word.backwards for word in run)) for run in _runs(level)]
    together = _brought_together(found) if len(found) <= MOST_PIECES else found
    return together + [_piece(run) for run in _upright(words)]


def merged(parts: Iterable[Piece]) -> Piece:
    """Pieces of one row as one, from left to right, or from right to left where most of it is written so."""
    return _piece([word for part in parts for word in part.words], anew=True)


def text(words: Iterable[Word]) -> str:
    """The words with spaces, but where they touch."""
    joined, last = "", None
    for word in words:
        joined += (" " if last and _apart(last, word) else "") + word.text
        last = word
    return joined


def overlap(one: Piece | Word, other: Piece | Word) -> float:
    """How much of the lower one's height both have in common; negative where there is a gap."""
    return (min(one.bottom, other.bottom) - max(one.top, other.top)) / min(one.height, other.height)


def _share(words: tuple[Word, ...], has: Callable[[Word], bool]) -> float:
    return sum(len(word.text) for word in words if has(word)) / max(1, sum(len(word.text) for word in words))


def _apart(last: Word, word: Word) -> bool:
    gap = max(word.left - last.right, last.left - word.right, word.top - last.bottom, last.top - word.bottom)
    turned = last.backwards != word.backwards and last.text[-1].isalpha() and word.text[0].isalpha()
    thick = (word.right - word.left) if word.upright else min(last.height, word.height)
    return turned or gap > _WORD_GAP * thick


def _runs(words: list[Word]) -> Iterator[list[Word]]:
    """Words that follow each other in the file and on the page."""
    run: list[Word] = []
    for word in words:
        if run and not _follows(run[-1], word):
            yield run
            run = []
        run.append(word)
    if run:
        yield run


def _follows(last: Word, word: Word) -> bool:
    gap = last.left - word.right if word.backwards else word.left - last.right
    height = max(last.height, word.height)
    return overlap(last, word) > _OVERLAP and -0.5 * height < gap < _SPACE * height


def _upright(words: Iterable[Word]) -> Iterator[list[Word]]:
    run: list[Word] = []
    for word in words:
        if word.upright:
            if run and abs(word.left - run[-1].left) > 1:
                yield run
                run = []
            run.append(word)
    if run:
        yield run


def _piece(words: list[Word], anew: bool = False) -> Piece:
    if anew:
        backwards = _share(tuple(words), lambda word: word.backwards) > 0.5
        words = _from_the_right(words) if backwards else sorted(words, key=lambda word: word.left)
    bounds = min(w.left for w in words), min(w.top for w in words), max(w.right for w in words), max(w.bottom for w in words)
    return Piece(*bounds, tuple(words))


def _from_the_right(words: list[Word]) -> list[Word]:
    """Words of a line that is written backwards; what stands forwards in it is read forwards."""
    ordered: list[Word] = []
    for backwards, group in groupby(sorted(words, key=lambda word: -word.right), key=lambda word: word.backwards):
        run = list(group)
        ordered += run if backwards else run[::-1]
    return ordered


def _brought_together(found: list[Piece]) -> list[Piece]:
    """Pieces that the file draws apart and the page shows beside each other; a list's marker with what it marks."""
    chains: list[list[int]] = []
    ends: dict[int, list[list[int]]] = {}
    for at in sorted(range(len(found)), key=lambda at: found[at].left):
        chain = next((chain for chain in _near(ends, found[at]) if _beside(found[chain[-1]], found[at])), None)
        if chain is None:
            chains.append(chain := [])
        chain.append(at)
        ends.setdefault(_band(found[at]), []).append(chain)
    return [merged(found[at] for at in chain) if len(chain) > 1 else found[chain[0]] for chain in sorted(chains, key=min)]


def _near(ends: dict[int, list[list[int]]], piece: Piece) -> Iterator[list[int]]:
    """The chains that end at about this height, the latest first."""
    band = _band(piece)
    for near in (band, band - 1, band + 1):
        yield from reversed(ends.get(near, ()))


def _band(piece: Piece) -> int:
    return int((piece.top + piece.bottom) / 2 / _BAND)


def _beside(left: Piece, right: Piece) -> bool:
    gap, height = right.left - left.right, max(left.height, right.height)
    return -0.5 * height < gap < _reach(left, right) * height and overlap(left, right) > _OVERLAP


def _reach(left: Piece, right: Piece) -> float:
    if len(left.words) > 1:
        return _SPACE
    mark = left.words[0]
    if BULLET.fullmatch(mark.text) or is_symbols(mark.font) or (NUMBER.fullmatch(mark.text) and not right.text[0].isdigit()):
        return _MARKER_GAP
    numbered = _SECTION.fullmatch(mark.text) and right.text[0].isalpha() and left.bold == right.bold
    return _SECTION_GAP if numbered else _SPACE
