"""Word 97 to 2003 (.doc) → blocks: text, headings by style, lists, tables, links, notes.

Follows [MS-DOC] and uses its section and field names. Pictures, drawings, headers, footers and macros are ignored.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from core.records import Block, Link
from parsers.reasons import ParseError

# offsets in the Fib (2.5.1)
_IDENT, _FIB_FLAGS, _CCP = 0xA5EC, 0x0A, 0x4C
_FC_STSHF, _FC_PAPX, _FC_CLX = 0xA2, 0x102, 0x1A2
_WORD_97 = 193
_F_ENCRYPTED, _F_WHICH_TABLE = 0x0100, 0x0200
# ccpText, ccpFtn, ccpHdd, reserved, ccpAtn, ccpEdn, ccpTxbx; headers and footers are not read
_PARTS = ("text", "footnotes", "headers", "reserved", "comments", "endnotes", "boxes")
_UNREAD = {"headers", "reserved"}

_PAGE = 512
# operand sizes by the operation code's upper three bits (2.6.1 Sprm); for 6 the operand begins with its length
_OPERANDS = (1, 1, 2, 4, 2, 2, 0, 3)
_IN_TABLE, _ROW_END, _LIST, _LIST_LEVEL, _TABLE_DEFINITION = 0x2416, 0x2417, 0x460B, 0x260A, 0xD608

# built-in styles (2.9.271): headings, title, caption, lists
_STYLE_HEADINGS, _STYLE_TITLE, _STYLE_CAPTION, _STYLE_LISTS = range(1, 10), 62, 34, range(48, 62)
_DEEPEST_HEADING = 6

_BEGIN, _SEPARATOR = "\x13", "\x14"
_FIELDS = re.compile(r"[\x13\x14\x15]")
_TARGET = re.compile(r'HYPERLINK\s+(?:\\l\s+)?"([^"]+)"')
_MARKS = re.compile(r"[^\r\x07\x0c]*(?:[\r\x07\x0c]|\Z)")
_RENDERED = str.maketrans(
    {"\x0b": "\n", "\x1e": "-", "\x1f": "", "\xa0": " ", **{chr(code): "" for code in (*range(9), 14, 15, *range(16, 19))}}
)


class _Style(NamedTuple):
    """A paragraph's properties: its built-in style, and its direct formatting."""

    built_in: int = 0
    in_table: bool = False
    row_end: bool = False
    list_level: int = 0


class _Paragraph(NamedTuple):
    text: str
    mark: str
    style: _Style
    links: tuple[Link, ...]


def blocks(document: bytes, tables: dict[str, bytes]) -> Iterator[Block]:
    """The blocks of a `WordDocument` stream; `tables` contains the streams `0Table` and `1Table`. Raises ParseError or struct.error."""
    ident, version = struct.unpack_from("<HH", document)
    (flags,) = struct.unpack_from("<H", document, _FIB_FLAGS)
    if ident != _IDENT or version < _WORD_97:
        raise ParseError("legacy-format")
    if flags & _F_ENCRYPTED:
        raise ParseError("encrypted-document")
    table = tables["1Table" if flags & _F_WHICH_TABLE else "0Table"]
    return _blocks(_paragraphs(document, table))


def _paragraphs(document: bytes, table: bytes) -> Iterator[_Paragraph]:
    text, pieces = _text(document, _part(document, table, _FC_CLX))
    styles = _Styles(document, table)
    start = 0
    for name, length in zip(_PARTS, struct.unpack_from(f"<{len(_PARTS)}i", document, _CCP), strict=True):
        if name not in _UNREAD and length > 0:
            yield from _split(text, start, min(start + length, len(text)), pieces, styles)
        start += max(length, 0)


def _part(document: bytes, table: bytes, at: int) -> bytes:
    """The bytes that a pair of offset and length (FcLcb) in the Fib refers to."""
    start, length = struct.unpack_from("<II", document, at)
    return table[start : start + length]


class _PieceTable(NamedTuple):
    """Pieces by their first character: the offset of each in the stream, and its bytes per character."""

    starts: list[int]
    offsets: list[int]
    widths: list[int]

    def offset(self, character: int) -> int:
        piece = bisect_right(self.starts, character) - 1
        return self.offsets[piece] + (character - self.starts[piece]) * self.widths[piece]


def _text(document: bytes, clx: bytes) -> tuple[str, _PieceTable]:
    """All characters, piece by piece (2.4.1 Retrieving Text; 2.9.38 Clx)."""
    plc = _pieces(clx)
    count = (len(plc) - 4) // 12
    starts = list(struct.unpack_from(f"<{count + 1}I", plc))
    # overlapping pieces would expand a small file into a large text
    if starts != sorted(starts) or starts[-1] > len(document):
        raise ParseError("corrupt-document")
    texts: list[str] = []
    pieces = _PieceTable([], [], [])
    total = 0
    for at in range(count):
        (packed,) = struct.unpack_from("<I", plc, 4 * (count + 1) + 8 * at + 2)
        width = 1 if packed & 0x40000000 else 2
        offset = (packed & 0x3FFFFFFF) // (3 - width)
        for column, value in zip(pieces, (total, offset, width), strict=True):
            column.append(value)
        texts.append(_characters(document[offset : offset + (starts[at + 1] - starts[at]) * width], width))
        total += len(texts[-1])
    return "".join(texts), pieces


def _characters(stored: bytes, width: int) -> str:
    """One character per code unit, so that characters correspond to offsets; surrogate pairs are joined in `_clean`."""
    if width == 1:
        return stored.decode("cp1252", "replace")
    return "".join(map(chr, struct.unpack(f"<{len(stored) // 2}H", stored[: len(stored) // 2 * 2])))


def _pieces(clx: bytes) -> bytes:
    at = 0
    while at < len(clx) and clx[at] == 1:
        at += 3 + struct.unpack_from("<H", clx, at + 1)[0]
    (length,) = struct.unpack_from("<I", clx, at + 1)
    return clx[at + 5 : at + 5 + length]


class _Styles:
    """Paragraph properties by offset in the stream (2.4.6.1 Direct Paragraph Formatting)."""

    def __init__(self, document: bytes, table: bytes) -> None:
        self._built_in = _built_in_styles(_part(document, table, _FC_STSHF))
        runs = sorted(_runs(document, _part(document, table, _FC_PAPX)))
        self._starts = [start for start, _ in runs]
        self._properties = [properties for _, properties in runs]

    def at(self, offset: int) -> _Style:
        run = bisect_right(self._starts, offset) - 1
        properties = self._properties[run] if run >= 0 else b""
        if len(properties) < 2:
            return _Style()
        built_in = self._built_in.get(struct.unpack_from("<H", properties)[0], 0)
        formatting = dict(_direct_formatting(properties[2:]))
        listed = formatting.get(_LIST, 0) not in {0, 0xF801} or built_in in _STYLE_LISTS
        level = 1 + min(formatting.get(_LIST_LEVEL, 0), 8) if listed else 0
        return _Style(built_in, bool(formatting.get(_IN_TABLE)), bool(formatting.get(_ROW_END)), level)


def _built_in_styles(sheet: bytes) -> dict[int, int]:
    """The built-in style of each index of the style sheet (2.9.271 STSH)."""
    styles: dict[int, int] = {}
    if len(sheet) < 4:
        return styles
    header, count = struct.unpack_from("<HH", sheet)
    at = 2 + header
    for index in range(count):
        if at + 4 > len(sheet):
            break
        length, first = struct.unpack_from("<HH", sheet, at)
        if length:
            styles[index] = first & 0x0FFF
        at += 2 + length + length % 2
    return styles


def _runs(document: bytes, plc: bytes) -> Iterator[tuple[int, bytes]]:
    """Every paragraph's first offset in the stream, with its style and direct formatting (2.9.175 PapxFkp)."""
    count = (len(plc) - 4) // 8
    for at in range(count):
        (number,) = struct.unpack_from("<I", plc, 4 * (count + 1) + 4 * at)
        page = document[(number & 0x3FFFFF) * _PAGE :][:_PAGE]
        if len(page) == _PAGE:
            runs = page[-1]
            for run in range(min(runs, (_PAGE - 5) // 17)):
                (start,) = struct.unpack_from("<I", page, 4 * run)
                yield start, _properties(page, 2 * page[4 * (runs + 1) + 13 * run])


def _properties(page: bytes, at: int) -> bytes:
    if not at:
        return b""
    if page[at]:
        return page[at + 1 : at + 2 * page[at]]
    return page[at + 2 : at + 2 + 2 * page[at + 1]] if at + 1 < _PAGE else b""


def _direct_formatting(properties: bytes) -> Iterator[tuple[int, int]]:
    """Operations with operands of one or two bytes, as numbers; others are skipped."""
    at = 0
    while at + 3 <= len(properties):
        (operation,) = struct.unpack_from("<H", properties, at)
        size = _OPERANDS[operation >> 13]
        if size in {1, 2}:
            yield operation, int.from_bytes(properties[at + 2 : at + 2 + size], "little")
        elif not size and operation == _TABLE_DEFINITION:
            size = int.from_bytes(properties[at + 2 : at + 4], "little") + 1
        elif not size:
            size = 1 + properties[at + 2]
        at += 2 + size


def _split(text: str, start: int, end: int, pieces: _PieceTable, styles: _Styles) -> Iterator[_Paragraph]:
    for match in _MARKS.finditer(text, start, end):
        written = match.group()
        if written:
            mark = written[-1] if written[-1] in "\r\x07\x0c" else ""
            shown, links = _resolve_fields(written.removesuffix(mark))
            yield _Paragraph(shown, mark, styles.at(pieces.offset(match.end() - 1)), links)


class _OpenField(NamedTuple):
    """An open field (2.8.25 Plcfld): its instructions and, after the separator (`parts` has two lists), its result."""

    parts: list[list[str]]


def _resolve_fields(written: str) -> tuple[str, tuple[Link, ...]]:
    """The text with fields replaced by their results; a HYPERLINK's result is a link. A field that spans paragraphs is cut."""
    open_fields = [_OpenField([[], []])]
    links: list[Link] = []
    at = 0
    for mark in _FIELDS.finditer(written):
        open_fields[-1].parts[-1].append(written[at : mark.start()])
        at = mark.end()
        if mark.group() == _BEGIN:
            open_fields.append(_OpenField([[]]))
        elif mark.group() == _SEPARATOR:
            open_fields[-1].parts.append([])
        elif len(open_fields) > 1:
            links += _close_field(open_fields)
    open_fields[-1].parts[-1].append(written[at:])
    while len(open_fields) > 1:
        links += _close_field(open_fields)
    return _clean("".join(open_fields[0].parts[-1])), tuple(links)


def _close_field(open_fields: list[_OpenField]) -> list[Link]:
    """Close the innermost field: its result becomes part of the enclosing field."""
    code, *results = open_fields.pop().parts
    words = "".join(results[-1]) if results else ""
    open_fields[-1].parts[-1].append(words)
    target = _TARGET.search("".join(code))
    return [Link(_clean(words), target[1])] if target and _clean(words) else []


def _clean(words: str) -> str:
    joined = words.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return joined.translate(_RENDERED).strip()


def _blocks(paragraphs: Iterable[_Paragraph]) -> Iterator[Block]:
    rows: list[tuple[str, ...]] = []
    row: list[str] = []
    cell: list[_Paragraph] = []
    links: list[Link] = []
    for paragraph in paragraphs:
        if paragraph.style.row_end:
            rows.append(tuple(row))
            row = []
        elif paragraph.style.in_table or paragraph.mark == "\x07":
            cell.append(paragraph)
            links += paragraph.links
            if paragraph.mark == "\x07":
                row.append("\n".join(piece.text for piece in cell).strip())
                cell = []
        else:
            yield from _table([*rows, tuple(row)], links)
            rows, row, links = [], [], []
            yield from _block(paragraph)
    yield from _table([*rows, tuple(row)], links)


def _table(rows: list[tuple[str, ...]], links: list[Link]) -> Iterator[Block]:
    filled = tuple(tuple(" ".join(cell.split()) for cell in row) for row in rows if any(row))
    if filled:
        yield Block("table", rows=filled, links=tuple(links))


def _block(paragraph: _Paragraph) -> Iterator[Block]:
    text, style = paragraph.text, paragraph.style
    if not text:
        return
    if style.built_in in _STYLE_HEADINGS:
        yield Block("heading", " ".join(text.split()), level=min(style.built_in, _DEEPEST_HEADING), links=paragraph.links)
    elif style.built_in == _STYLE_TITLE:
        yield Block("heading", " ".join(text.split()), level=1, links=paragraph.links)
    elif style.list_level:
        yield Block("list_item", text, level=style.list_level, links=paragraph.links)
    else:
        yield Block("caption" if style.built_in == _STYLE_CAPTION else "paragraph", text, links=paragraph.links)
