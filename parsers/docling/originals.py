"""The paragraphs of a source as it has them (`parsers.docling.spacing`), of formats whose readers put a space wherever markup begins or
ends.

That matters beyond looks: a name or address that is half bold is one value, and would be two. What a reader makes of the rest is its own.
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
# what a reader takes out of the paragraph that it stands in
_APART = frozenset({"fn", "disp-quote", "list", "table-wrap", "fig", "disp-formula"})
_BLANK_LINES = re.compile(r"\n\s*\n")
_TAG = re.compile(r"<[^>\n]{0,1000}>")
# AsciiDoc's marks: doubled ones anywhere, single ones around words
_MARKS = re.compile(r"\*\*|__|``|##|(?<![\w*_`#])[*_`#](?=\S)|(?<=\S)[*_`#](?![\w*_`#])")


def paragraphs(kind: Format, content: bytes) -> Paragraphs:
    """The source's own paragraphs; none of a format of which its reader keeps them anyway, or which does not open."""
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
            yield _flat("".join(_own(element)))


def _own(element: etree._Element) -> Iterator[str]:
    yield element.text or ""
    for child in element:
        if isinstance(child.tag, str) and etree.QName(child).localname not in _APART:
            yield from _own(child)
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
