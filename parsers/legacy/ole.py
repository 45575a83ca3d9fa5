"""The binary formats of Word, PowerPoint and Excel 97 to 2003, read directly: no conversion, no external program.

Files of older versions are refused with a reason; docs/formats.md lists what is not kept.
"""

from __future__ import annotations

import datetime
import io
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import olefile  # type: ignore[import-untyped]
from msgspec import structs

from core.records import Block, Content
from parsers.legacy.slides import blocks as slide_blocks
from parsers.legacy.word import blocks as word_blocks
from parsers.reasons import ParseError

# property identifiers of the summary stream ([MS-OLEPS] 2.21 and 2.25.1); 1 is the code page
_SUMMARY, _CODE_PAGE = "\x05SummaryInformation", 1
_PROPERTIES = {2: "title", 3: "subject", 4: "author", 5: "keywords", 6: "description"}
_NUMBER, _BYTES, _WIDE = 0x02, 0x1E, 0x1F
_SECTION_AT, _MOST_PROPERTIES = 44, 100
_CODE_PAGES = {65001: "utf-8", 10000: "mac_roman", 1200: "utf-16-le"}
_Streams = Callable[[str], bytes]


def word(content: bytes) -> Content:
    """A .doc. Raises ParseError: `legacy-format` for Word 6 and 95, `encrypted-document`, `corrupt-document`."""
    return _read(content, lambda stream: word_blocks(stream("WordDocument"), {"0Table": stream("0Table"), "1Table": stream("1Table")}))


def slides(content: bytes) -> Content:
    """A .ppt. Raises ParseError: `encrypted-document`, `corrupt-document`."""
    return _read(content, lambda stream: slide_blocks(stream("Current User"), stream("PowerPoint Document")))


def sheets(content: bytes) -> Content:
    """An .xls: a heading and a table per sheet. Raises ParseError: `encrypted-document`, `corrupt-document`."""
    book = _read(content, lambda _: _sheets(content))
    # a sheet's name is a poor title
    return structs.replace(book, title=book.properties.get("title", ""))


def _read(content: bytes, blocks: Callable[[_Streams], Iterable[Block]]) -> Content:
    with olefile.OleFileIO(io.BytesIO(content)) as file:
        try:
            read = tuple(blocks(lambda name: _stream(file, name)))
        except (struct.error, IndexError, KeyError, ValueError) as error:
            raise ParseError("corrupt-document", type(error).__name__) from None
        properties = _properties(_stream(file, _SUMMARY))
    heading = next((block.text for block in read if block.kind == "heading" and block.level == 1), "")
    return Content(blocks=read, title=properties.get("title") or heading, properties=properties)


def _stream(file: Any, name: str) -> bytes:
    return bytes(file.openstream(name).read()) if file.exists(name) else b""


def _properties(stream: bytes) -> dict[str, str]:
    """The summary's properties; empty if it is broken. olefile is not used: it trusts the number of properties that a stream declares."""
    try:
        values = dict(_values(stream))
    except (struct.error, LookupError):
        return {}
    return {name: text for number, name in _PROPERTIES.items() if (text := " ".join(values.get(number, "").replace("\0", "").split()))}


def _values(stream: bytes) -> Iterator[tuple[int, str]]:
    (section,) = struct.unpack_from("<I", stream, _SECTION_AT)
    (count,) = struct.unpack_from("<I", stream, section + 4)
    places = dict(struct.iter_unpack("<II", stream[section + 8 : section + 8 + 8 * min(count, _MOST_PROPERTIES)]))
    encoding = "utf-8"
    if _CODE_PAGE in places and struct.unpack_from("<I", stream, section + places[_CODE_PAGE])[0] == _NUMBER:
        (page,) = struct.unpack_from("<H", stream, section + places[_CODE_PAGE] + 4)
        encoding = _CODE_PAGES.get(page, f"cp{page}")
    for number in _PROPERTIES.keys() & places.keys():
        kind, length = struct.unpack_from("<II", stream, section + places[number])
        start = section + places[number] + 8
        if kind in {_BYTES, _WIDE}:
            stored = stream[start : start + length * (2 if kind == _WIDE else 1)]
            yield number, stored.decode("utf-16-le" if kind == _WIDE else encoding, "replace")


def _sheets(content: bytes) -> Iterable[Block]:
    import python_calamine

    try:
        book = python_calamine.load_workbook(io.BytesIO(content))
    except python_calamine.PasswordError:
        raise ParseError("encrypted-document") from None
    for name in book.sheet_names:
        rows = [tuple(_cell(value) for value in row) for row in book.get_sheet_by_name(name).to_python()]
        filled = tuple(row for row in rows if any(row))
        if filled:
            yield Block("heading", name, level=1)
            yield Block("table", rows=filled)


def _cell(value: object) -> str:
    """The value as text, without number formats: whole numbers without `.0`, dates as ISO 8601."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    return " ".join(str(value).split())
