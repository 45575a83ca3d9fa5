"""Text without markup: plain text, source code, delimiter-separated values, SubRip subtitles."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter

from core.records import Block, Content
from parsers.decoding import decode

_BLANK_LINES = re.compile(r"\n[ \t\f\v]*(?:\n[ \t\f\v]*)+")
_CUE = re.compile(r"(?:^[ \t]*\d+[ \t]*\n)?^[ \t]*\d{1,3}:\d\d:\d\d[,.]\d{1,3}[ \t]*-->[^\n]*(?:\n|\Z)", re.MULTILINE)
# styles that players interpret: HTML tags, and SSA overrides in braces
_STYLE = re.compile(r"</?(?:[biu]|font)\b[^>\n]{0,200}>|\{\\[^}\n]{0,200}\}", re.IGNORECASE)
_SNIFF_CHARACTERS = 16 * 1024
_DELIMITERS = "\t;|,"  # of two that are as regular the first: a comma may be a decimal one
_FIELD_LIMIT = 1 << 30


def text(content: bytes) -> Content:
    """One paragraph per run of lines between blank lines; line breaks within it are kept."""
    return Content(blocks=paragraphs(decode(content)))


def paragraphs(words: str) -> tuple[Block, ...]:
    """The paragraphs of a text whose line ends are `\\n`."""
    pieces = (piece.strip("\n\f\v").rstrip() for piece in _BLANK_LINES.split(words))
    return tuple(Block("paragraph", piece) for piece in pieces if piece.strip())


def code(content: bytes) -> Content:
    """One code block: the source verbatim, decoded, with normalised line ends."""
    source = decode(content).strip("\n").rstrip()
    return Content(blocks=(Block("code", source),) if source.strip() else ())


def table(content: bytes) -> Content:
    """One table, quoted as RFC 4180 says; the delimiter is the one that the beginning is most regular with."""
    words = decode(content)
    csv.field_size_limit(_FIELD_LIMIT)
    read = csv.reader(io.StringIO(words), delimiter=_delimiter(words), skipinitialspace=True)
    rows = tuple(tuple(cell.strip() for cell in row) for row in read if any(row))
    return Content(blocks=(Block("table", rows=rows),) if rows else ())


def subtitles(content: bytes) -> Content:
    """SubRip: one paragraph per cue, without its number, times and styles."""
    cues = _CUE.split(decode(content))
    return Content(blocks=tuple(block for cue in cues for block in paragraphs(_STYLE.sub("", cue))))


def _delimiter(words: str) -> str:
    """`csv.Sniffer` takes the first quotes for the whole table's: doubled ones in a later row move its cells to other columns."""
    beginning = words[:_SNIFF_CHARACTERS]
    if len(words) > _SNIFF_CHARACTERS and "\n" in beginning:
        beginning = beginning[: beginning.rindex("\n")]
    return max(_DELIMITERS, key=lambda delimiter: _regularity(beginning, delimiter))


def _regularity(words: str, delimiter: str) -> tuple[bool, float]:
    """Whether the quotes are right with this delimiter, and the share of rows that have the commonest number of cells, two at least."""
    widths, right = Counter[int](), True
    try:
        for row in csv.reader(io.StringIO(words), delimiter=delimiter, skipinitialspace=True, strict=True):
            widths[len(row)] += bool(row)
    except csv.Error:  # text that is cut within quotes, too
        right = False
    rows = widths.total()
    del widths[1]
    most = max(widths.values(), default=0)
    return right and most > 0, most / (rows or 1)
