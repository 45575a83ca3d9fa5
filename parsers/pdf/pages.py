"""The model of a PDF page: words, rules and links with their places, and properties derived from a font's name.

Places are in points from the page's upper left corner, y downwards, as in `core.records.Block.box`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

# PostScript names: NimbusRomNo9L-Medi, LinLibertineTB and CMBX10 are bold too
_BOLD = re.compile(r"bold|black|heavy|demi|-medi\b|medi$|cmbx|sfbx|linlibertinetb|linbiolinumtb|[-,]b$|[-,]bi$", re.IGNORECASE)
_MONO = re.compile(r"mono|courier|consol|typewriter|menlo|cmtt|sftt|lettergothic|andale|inconsolata|source ?code", re.IGNORECASE)
_SYMBOLS = re.compile(r"dingbat|wingding|webding|symbol", re.IGNORECASE)


class Box(NamedTuple):
    """A place on a page."""

    left: float
    top: float
    right: float
    bottom: float

    def contains_center(self, other: Box | Word) -> bool:
        """Whether the center of the other lies in this box."""
        across, down = (other.left + other.right) / 2, (other.top + other.bottom) / 2
        return self.left <= across <= self.right and self.top <= down <= self.bottom

    def contains(self, other: Box) -> bool:
        """Whether the other lies entirely in this box."""
        return self.left <= other.left and self.top <= other.top and other.right <= self.right and other.bottom <= self.bottom


class Word(NamedTuple):
    """A word, or the part of one that is in a single font. `right_to_left`: its script's direction; `vertical`: turned by 90 degrees."""

    left: float
    top: float
    right: float
    bottom: float
    text: str
    font: str = ""
    right_to_left: bool = False
    vertical: bool = False
    mono: bool = False

    @property
    def height(self) -> float:
        return max(self.bottom - self.top, 0.1)


class Page(NamedTuple):
    """A page.

    `number` counts from 1; `links` are places and targets; `painted`: whether anything but text is drawn; `pictured`: the share of the
    page that its largest picture covers, 0–1; `grade`: how the page was read, empty if it could not be.
    """

    number: int
    width: float
    height: float
    words: list[Word]
    rules: list[Box]
    links: list[tuple[Box, str]]
    painted: bool
    grade: str
    pictured: float = 0.0


def largest_share(pictures: Iterable[Box], width: float, height: float) -> float:
    """The share of a page that its largest picture covers, 0–1."""
    largest = max(((box.right - box.left) * (box.bottom - box.top) for box in pictures), default=0.0)
    return min(1.0, largest / max(1.0, width * height))


def clean(text: str) -> str:
    """The text without NULs and lone surrogates."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


@cache
def is_bold(font: str) -> bool:
    """Whether a font's name indicates bold."""
    return bool(_BOLD.search(font))


@cache
def is_mono(font: str) -> bool:
    """Whether a font's name indicates a fixed width."""
    return bool(_MONO.search(font))


@cache
def is_symbols(font: str) -> bool:
    """Whether a font's name indicates symbols instead of letters."""
    return bool(_SYMBOLS.search(font))
