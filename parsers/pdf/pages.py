"""A page of a PDF as the parser sees it: words, rules and links with their places, and what a font's name tells.

Places are in points from the page's upper left corner, y downwards, as in `core.records.Block.box`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

# as PostScript names say it: NimbusRomNo9L-Medi, LinLibertineTB and CMBX10 are bold too
_BOLD = re.compile(r"bold|black|heavy|demi|-medi\b|medi$|cmbx|sfbx|linlibertinetb|linbiolinumtb|[-,]b$|[-,]bi$", re.IGNORECASE)
_MONO = re.compile(r"mono|courier|consol|typewriter|menlo|cmtt|sftt|lettergothic|andale|inconsolata|source ?code", re.IGNORECASE)
_SYMBOLS = re.compile(r"dingbat|wingding|webding|symbol", re.IGNORECASE)


class Box(NamedTuple):
    """A place on a page."""

    left: float
    top: float
    right: float
    bottom: float

    def holds(self, other: Box | Word) -> bool:
        """Whether the middle of the other lies in it."""
        across, down = (other.left + other.right) / 2, (other.top + other.bottom) / 2
        return self.left <= across <= self.right and self.top <= down <= self.bottom

    def surrounds(self, other: Box) -> bool:
        """Whether all of the other lies in it."""
        return self.left <= other.left and self.top <= other.top and other.right <= self.right and other.bottom <= self.bottom


class Word(NamedTuple):
    """A word, or what of it is in one font."""

    left: float
    top: float
    right: float
    bottom: float
    text: str
    font: str = ""
    backwards: bool = False
    upright: bool = False
    mono: bool = False

    @property
    def height(self) -> float:
        return max(self.bottom - self.top, 0.1)


class Page(NamedTuple):
    """`number` counts from 1. `links` are places and targets; `painted`: whether anything but text is drawn; `pictured`: the share of the
    page that its largest picture covers, 0–1; `grade`: how it was read, empty where it could not be."""

    number: int
    width: float
    height: float
    words: list[Word]
    rules: list[Box]
    links: list[tuple[Box, str]]
    painted: bool
    grade: str
    pictured: float = 0.0


def covered(pictures: Iterable[Box], width: float, height: float) -> float:
    """The share of a page that the largest of its pictures covers, 0–1."""
    largest = max(((box.right - box.left) * (box.bottom - box.top) for box in pictures), default=0.0)
    return min(1.0, largest / max(1.0, width * height))


def clean(text: str) -> str:
    """Without what no text may hold: NUL and halves of surrogate pairs."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


@cache
def is_bold(font: str) -> bool:
    """Whether a font's name says that it is bold."""
    return bool(_BOLD.search(font))


@cache
def is_mono(font: str) -> bool:
    """Whether a font's name says that all its letters have one width."""
    return bool(_MONO.search(font))


@cache
def is_symbols(font: str) -> bool:
    """Whether a font's name says that it has pictures for letters."""
    return bool(_SYMBOLS.search(font))
