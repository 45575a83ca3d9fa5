"""Whether a document in which no text was found may have text all the same, in parts that its format's reader does not look into.

An empty document is a valid state and replaces the one before it; a document that could not be read must not. Which is which: the table in
docs/formats.md. PDFs and web pages are judged by their readers, which know more about them.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote

from lxml import etree  # type: ignore[import-untyped]

from core.records import Content
from parsers.decoding import decode, is_controls
from parsers.formats import Format
from parsers.properties import epub_package, xml
from parsers.reasons import ParseError


class _Parts(NamedTuple):
    """The members that have a container's text, and what refutes that there is none, by local name.

    `texts`: elements of text, if it is not blank. `unread`: elements and attributes that the reader does not look into.
    """

    members: re.Pattern[str]
    texts: frozenset[str]
    unread: frozenset[str]


_OPEN_DOCUMENT = _Parts(
    re.compile(r"content\.xml"), frozenset({"p", "h"}), frozenset({"image", "object", "object-ole", "plugin", "formula", "value"})
)
_SHEETS = re.compile(r"xl/(?:worksheets|chartsheets|dialogsheets)/[^/]+\.xml")
_PARTS: Mapping[Format, _Parts] = {
    Format.DOCX: _Parts(re.compile(r"word/document\d*\.xml"), frozenset({"t"}), frozenset({"drawing", "pict", "object", "altChunk"})),
    Format.PPTX: _Parts(
        re.compile(r"ppt/slides/[^/]+\.xml"), frozenset({"t"}), frozenset({"pic", "oleObj", "chart", "relIds", "contentPart"})
    ),
    # a formula without a value was never computed
    Format.XLSX: _Parts(
        _SHEETS,
        frozenset({"v", "t"}),
        frozenset({"f", "drawing", "legacyDrawing", "picture", "oleObjects", "controls", "chartsheet"}),
    ),
    Format.ODT: _OPEN_DOCUMENT,
    Format.ODP: _OPEN_DOCUMENT,
    Format.ODS: _OPEN_DOCUMENT,
}
# readers that cannot tell an empty document from one whose text they do not find
_NEVER_EMPTY = frozenset({Format.DOC, Format.PPT, Format.XLS, Format.OUTLOOK, Format.IMAGE})
_PICTURE = re.compile(r"<(?:\w+:)?(?:img|image|svg|object|video|audio|canvas)\b", re.IGNORECASE)
_CHAPTER_BYTES = 64 << 20


def refuse(kind: Format, source: bytes, read: Content) -> None:
    """Raise ParseError unless the document, in which no text was found, is known to have none.

    `no-text` if it has parts that its reader does not look into; `corrupt-document` if parts of it are missing or broken;
    `unsupported-media-type` if it is no text.
    """
    if kind in (Format.TEXT, Format.CODE) and is_controls(source):
        raise ParseError("unsupported-media-type")
    if kind in _NEVER_EMPTY or "pictures-within-the-text" in read.signals.dropped:
        raise ParseError("no-text")
    if kind in _PARTS or kind is Format.EPUB:
        with zipfile.ZipFile(BytesIO(source)) as archive:
            if kind is Format.XLSX:
                _refuse_missing_sheets(archive)
            if kind is Format.EPUB:
                _refuse_book(archive)
            else:
                _refuse_parts(archive, _PARTS[kind])


def _refuse_parts(archive: zipfile.ZipFile, parts: _Parts) -> None:
    names = list(filter(parts.members.fullmatch, archive.namelist()))
    if not names and parts is not _PARTS[Format.PPTX]:
        raise ParseError("no-text")
    for name in names:
        for element in _tree(archive, name).iter("{*}*"):
            local = {etree.QName(each).localname for each in (element, *element.attrib)}
            text = etree.QName(element).localname in parts.texts and "".join(element.itertext()).strip()
            if text or not local.isdisjoint(parts.unread):
                raise ParseError("no-text")


def _refuse_missing_sheets(archive: zipfile.ZipFile) -> None:
    listed = _tree(archive, "xl/workbook.xml").iterfind("{*}sheets/{*}sheet")
    if len(list(filter(_SHEETS.fullmatch, archive.namelist()))) < len(list(listed)):
        raise ParseError("corrupt-document")


def _refuse_book(archive: zipfile.ZipFile) -> None:
    for name in _chapters(archive):
        try:
            with archive.open(name) as member:
                chapter = decode(member.read(_CHAPTER_BYTES))
        except KeyError:
            raise ParseError("corrupt-document") from None
        if _PICTURE.search(chapter):
            raise ParseError("no-text")


def _chapters(archive: zipfile.ZipFile) -> Iterator[str]:
    """The members that the package lists as chapters."""
    path, package = epub_package(archive)
    if package is None:
        raise ParseError("corrupt-document")
    for item in package.iterfind(".//{*}manifest/{*}item"):
        if item.get("media-type") == "application/xhtml+xml" and "nav" not in (item.get("properties") or "").split():
            yield str(PurePosixPath(path).parent / unquote(item.get("href") or ""))


def _tree(archive: zipfile.ZipFile, name: str) -> Any:
    """The member as XML. Raises ParseError `corrupt-document` if it is missing or broken."""
    tree = xml(archive, name)
    if tree is None:
        raise ParseError("corrupt-document")
    return tree
