"""Pages for the stream's benchmarks: Markdown of one size, from prose of the Python PEPs if the data folder has them, else generated.

Every page has two headings, a link, an e-mail address, a phone number, and a mark: a word that identifies this version of the page.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from itertools import chain, count, cycle
from pathlib import Path

from benchmarks._texts import peps

BODY_BYTES = 1_850
"""Size of a body; the whole page is about 2 KB."""

_SHORTEST = 60
_PROSE = re.compile(r"[A-Z][^`|_*]{150,600}")
_SYLLABLES = ("ba", "co", "di", "fen", "gor", "hul", "in", "ka", "lo", "mer", "nu", "os", "pra", "qui", "rel", "sto", "tu", "val", "wen")
_LETTERS = "abcdefghijklmnopqrst"


class Pages:
    """A deterministic sequence of distinct page bodies. `source` says whether they are real prose."""

    def __init__(self, data: Path) -> None:
        real = (data / "peps" / "peps_rst.tar.gz").exists()
        self.source = "peps" if real else "made up"
        self._paragraphs = _single_line(chain.from_iterable(_shuffled(data) for _ in count()) if real else _generated())

    def take(self, number: int, size: int = BODY_BYTES) -> list[list[str]]:
        """The next `number` bodies, each as paragraphs of about `size` bytes in total."""
        return [list(self._body(size)) for _ in range(number)]

    def _body(self, room: int) -> Iterator[str]:
        while room > 0:
            paragraph = next(self._paragraphs)[: max(room, _SHORTEST)]
            room -= len(paragraph) + 2
            yield paragraph


def page(number: int, paragraphs: Sequence[str], mark: str) -> str:
    """A page of these paragraphs, with its mark in the middle."""
    middle = len(paragraphs) // 2
    contact = f"Ask jane.roe{number}@example.org or call +49 30 {2_000_000 + number} about it; see [the one before](page-{number - 1})."
    marked = [f"{text} This is {mark}." if at == middle else text for at, text in enumerate(paragraphs)]
    before, after = "\n\n".join(marked[:middle]), "\n\n".join(marked[middle:])
    return f"# Page {number}\n\n{contact}\n\n{before}\n\n## Details\n\n{after}\n"


def brief(number: int, paragraphs: Sequence[str], mark: str) -> str:
    """A short text, with its mark."""
    return f"# Note {number}\n\nThis is {mark}. {' '.join(paragraphs)}\n"


def mark(number: int) -> str:
    """A word of letters only, so that it is not detected as an identifier."""
    return "zq" + "".join(_LETTERS[number // 20**place % 20] for place in range(5)) + "x"


def _single_line(texts: Iterator[str]) -> Iterator[str]:
    for text in texts:
        yield " ".join(text.split())


def _shuffled(data: Path) -> Iterator[str]:
    prose = [text for _, pep in peps(data) for text in pep.decode("utf-8", "replace").split("\n\n") if _PROSE.fullmatch(text)]
    random.Random(len(prose)).shuffle(prose)
    return iter(prose)


def _generated() -> Iterator[str]:
    chance = random.Random(1)
    words = ["".join(chance.choices(_SYLLABLES, k=chance.randint(1, 4))) for _ in range(2_000)]
    for length in cycle(range(5, 12)):
        yield " ".join(f"{' '.join(chance.choices(words, k=length)).capitalize()}." for _ in range(6))
