"""The original paragraphs of a source, for `parsers.docling.spacing`: formats whose reader inserts a space at every markup boundary.

This matters for redaction: a name or address that is partly bold is one value, and the inserted space would split it.
"""

from __future__ import annotations

import html
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO

from lxml import etree  # type: ignore[import-untyped]

from parsers.decoding import decode
from parsers.docling.spacing import Paragraphs, index
from parsers.formats import Format
from parsers.properties import xml_parser

_CHAPTER = re.compile(r".+\.(?:xhtml|html|htm)", re.IGNORECASE)
_MEMBER_BYTES = 64 << 20
_ARTICLE = frozenset(["p", "title", "article-title", "td", "th", "label", "mixed-citation", "term", "subtitle", "trans-title"])
# elements that the reader moves out of their paragraph
_EXTRACTED = frozenset({"fn", "disp-quote", "list", "table-wrap", "fig", "disp-formula"})
_BLANK_LINES = re.compile(r"\n\s*\n")
_TAG = re.compile(r"<[^>\n]{0,1000}>")
# AsciiDoc's markup: doubled characters anywhere, single ones around words
_MARKS = re.compile(r"\*\*|__|``|##|(?<![\w*_`#])[*_`#](?=\S)|(?<=\S)[*_`#](?![\w*_`#])")


def paragraphs(kind: Format, content: bytes) -> Paragraphs:
    """The source's paragraphs; empty for a format whose reader preserves them, and for a source that cannot be parsed."""
    return index(_ORIGINALS[kind](content)) if kind in _ORIGINALS else {}


def _book(content: bytes) -> Iterator[str]:
    from parsers.docling import web

    with zipfile.ZipFile(BytesIO(content)) as archive:
        for name in filter(_CHAPTER.fullmatch, archive.namelist()):
            with archive.open(name) as member:
                yield from web.texts(decode(member.read(_MEMBER_BYTES)))


def _article(content: bytes) -> Iterator[str]:
    try:
        root = etree.fromstring(content, xml_parser())
    except (etree.XMLSyntaxError, ValueError):
        return
    for element in root.iter("{*}*"):
        if etree.QName(element).localname in _ARTICLE:
            yield _flat("".join(_own_text(element)))


def _own_text(element: etree._Element) -> Iterator[str]:
    yield element.text or ""
    for child in element:
        if isinstance(child.tag, str) and etree.QName(child).localname not in _EXTRACTED:
            yield from _own_text(child)
        yield child.tail or ""


def _asciidoc(content: bytes) -> Iterator[str]:
    for piece in _BLANK_LINES.split(decode(content)):
        yield _flat(_MARKS.sub("", piece))
        yield from (_flat(_MARKS.sub("", line)) for line in piece.split("\n"))


def _transcript(content: bytes) -> Iterator[str]:
    for cue in _BLANK_LINES.split(decode(content)):
        yield _flat(html.unescape(_TAG.sub("", cue.rpartition("-->")[2].partition("\n")[2])))


def _flat(words: str) -> str:
    return " ".join(words.split())


_ORIGINALS: Mapping[Format, Callable[[bytes], Iterator[str]]] = {
    Format.EPUB: _book,
    Format.JATS: _article,
    Format.ASCIIDOC: _asciidoc,
    Format.VTT: _transcript,
}
