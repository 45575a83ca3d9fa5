"""Text without markup: plain text, source code, delimiter-separated values, SubRip subtitles."""

from __future__ import annotations

import csv
import io
import re

from core.records import Block, Content
from parsers.decoding import decode

_BLANK_LINES = re.compile(r"\n[ \t\f\v]*(?:\n[ \t\f\v]*)+")
_CUE = re.compile(r"(?:^[ \t]*\d+[ \t]*\n)?^[ \t]*\d{1,3}:\d\d:\d\d[,.]\d{1,3}[ \t]*-->[^\n]*(?:\n|\Z)", re.MULTILINE)
# styles that players interpret: HTML tags, and SSA overrides in braces
_STYLE = re.compile(r"</?(?:[biu]|font)\b[^>\n]{0,200}>|\{\\[^}\n]{0,200}\}", re.IGNORECASE)
_SNIFF_CHARACTERS = 16 * 1024
_DELIMITERS = ",;\t|"
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
    """One table; the dialect is sniffed from the beginning, with commas as the fallback."""
    words = decode(content)
    csv.field_size_limit(_FIELD_LIMIT)
    rows = tuple(tuple(cell.strip() for cell in row) for row in csv.reader(io.StringIO(words), _dialect(words)) if any(row))
    return Content(blocks=(Block("table", rows=rows),) if rows else ())


def subtitles(content: bytes) -> Content:
    """SubRip: one paragraph per cue, without its number, times and styles."""
    cues = _CUE.split(decode(content))
    return Content(blocks=tuple(block for cue in cues for block in paragraphs(_STYLE.sub("", cue))))


def _dialect(words: str) -> type[csv.Dialect]:
    try:
        return csv.Sniffer().sniff(words[:_SNIFF_CHARACTERS], _DELIMITERS)
    except csv.Error:
        return csv.excel
