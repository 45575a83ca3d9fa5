"""Cleaning and splitting strings: whitespace, sentences, halves. Knows neither blocks nor tokens nor chunks."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise, zip_longest
from typing import NamedTuple

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
# an end mark, closing quotes or brackets, then space before anything but a lower-case letter; full-width marks need no space
_SENTENCE_END = re.compile(r"""[.!?…]["'”’»)\]]*(\s+)(?=[^\sa-z])|[。！？｡]["'”’»）」』]*(\s*)(?=\S)""")
_ABBREVIATION = re.compile(
    r"\W*(e\.g|i\.e|cf|vs|al|ca|approx|dr|mr|mrs|ms|prof|st|no|nr|fig|eq|sec|ch|vol|pp?|bzw|z\.b|d\.h|[^\W\d_])\.", re.IGNORECASE
)
# characters, in addition to combining marks, that must stay with the one before: joiner, variation selectors, skin tones
_ATTACHED_MARK = re.compile("[\u200d\ufe00-\ufe0f\U0001f3fb-\U0001f3ff]")
_LONGEST_CLUSTER = 16
_WIDEST_GAP = 64
_PAGE_WIDTHS = range(40, 121)
_LONG_GAP = re.compile(rf"\s{{{_WIDEST_GAP},}}")


class Part(NamedTuple):
    """A part of a longer string; `joint` is the exact separator from the part before."""

    joint: str
    text: str


def storable(text: str) -> str:
    """Remove NUL, which Postgres refuses and wrongly decoded UTF-16 contains; replace lone surrogates with U+FFFD."""
    return _UNSTORABLE.sub(lambda found: "" if found[0] == "\x00" else "\ufffd", text)


def one_line(text: str) -> str:
    """Make a text `storable`, and replace every run of whitespace with one space."""
    return " ".join(storable(text).split())


def unwrapped(text: str) -> str:
    """Make a text `storable`, and keep those of its line breaks that an author put there, with one space in place of other whitespace.

    A line was wrapped if the next one's first word would have made it the longest of the text. That says something only if most lines look
    so, and if the longest has the width of a page: 40 to 120 characters.
    """
    found = [line for line in map(one_line, storable(text).splitlines()) if visible(line)]
    longest = max(map(len, found), default=0)
    wrapped = [len(line) + 1 + len(after.split(" ", 1)[0]) > longest for line, after in pairwise(found)]
    is_page = longest in _PAGE_WIDTHS and 2 * sum(wrapped) > len(wrapped)
    breaks = (" " if is_page and was_wrapped else "\n" for was_wrapped in wrapped)
    return "".join(part for pair in zip_longest(found, breaks, fillvalue="") for part in pair)


def lines(text: str) -> list[str]:
    """Make a text `storable`, and split it into lines with indentation, without trailing whitespace, and with gaps of at most 64."""
    return [_LONG_GAP.sub(" " * _WIDEST_GAP, line.rstrip()) for line in storable(text).splitlines()]


def visible(text: str) -> bool:
    """Whether a text has a character that is neither whitespace nor a control."""
    return any(character.isprintable() and not character.isspace() for character in text)


def sentences(text: str) -> list[Part]:
    """Split a text into sentences by punctuation alone, without a language model: deterministic in every process.

    `"".join(part.joint + part.text)` is the original text.
    """
    parts, start, joint = [], 0, ""
    for end, resume in _sentence_ends(text):
        parts.append(Part(joint, text[start:end]))
        start, joint = resume, text[end:resume]
    return [*parts, Part(joint, text[start:])]


def _sentence_ends(text: str) -> Iterator[tuple[int, int]]:
    for found in _SENTENCE_END.finditer(text):
        group = 1 if found[1] is not None else 2
        if group == 2 or not _abbreviated(text, found.start()):
            yield found.span(group)


def _abbreviated(text: str, dot: int) -> bool:
    """Whether the mark at `dot` ends an abbreviation or an initial, not a sentence."""
    return bool(_ABBREVIATION.fullmatch(text[max(0, dot - 10) : dot + 1].rsplit(None, 1)[-1]))


def halves(text: str) -> list[Part]:
    """Split at the whitespace nearest the middle, or inside a word if there is none. A single character stays whole."""
    if len(text) < 2:
        return [Part("", text)]
    cut = _nearest_space(text) or _between_characters(text)
    left, right = text[:cut].rstrip(), text[cut:].lstrip()
    if not left:
        return [Part("", right)]
    return [Part("", left), Part(text[len(left) : len(text) - len(right)], right)]


def _nearest_space(text: str) -> int:
    """Index of the space or tab nearest the middle with text on both sides; 0 if there is none."""
    middle, indent = len(text) // 2, len(text) - len(text.lstrip())
    found = [at for mark in " \t" for at in (text.rfind(mark, indent, middle), text.find(mark, max(middle, indent))) if at > 0]
    return min(found, key=lambda at: abs(at - middle), default=0)


def _between_characters(text: str) -> int:
    """The middle, moved right past combining marks so that a grapheme cluster stays whole."""
    middle = len(text) // 2
    for at in range(middle, min(len(text), middle + _LONGEST_CLUSTER)):
        attached = unicodedata.combining(text[at]) or _ATTACHED_MARK.match(text[at]) or text[at - 1] == "\u200d"
        if not attached:
            return at
    return middle
