"""The other formats that docling reads: Office files, e-books, messages, articles, transcripts."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO

from lxml import etree  # type: ignore[import-untyped]

from core.records import Block, Content
from parsers import properties
from parsers.docling import conversion, originals
from parsers.docling.blocks import blocks
from parsers.docling.comments import without_comments
from parsers.docling.separated import separate
from parsers.docling.spacing import Paragraphs, index
from parsers.formats import Format

_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_DRAWING = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_WORD_DRAWING = "{http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing}"
_SLIDE_DRAWING = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_SLIDE = re.compile(r"ppt/slides/slide(\d+)\.xml")
_GUESSED = re.compile(r"\s*(?:Description automatically generated(?: with \w+ confidence)?|AI-generated content may be incorrect)\.?$")
_FILE_NAME = re.compile(r"[^/\\]{1,200}\.(?:png|jpe?g|gif|bmp|tiff?|emf|wmf|svg|webp)", re.IGNORECASE)
_NUMBERED = re.compile(r"(\d+)")

_SHEETS = (Format.XLSX, Format.ODS)
_HEADER = re.compile(r"(From|To|Cc|Date): (.+)", re.DOTALL)
_HEADER_BLOCKS = 5

load = conversion.load


def read(kind: Format, content: bytes) -> Content:
    """docling's blocks, with the file's own properties. The title is the first top-level heading, or the title property."""
    content = without_comments(content) if kind is Format.ASCIIDOC else content
    document = conversion.convert(separate(kind, content), kind)
    words, alt_texts = _SOURCES[kind](content) if kind in _SOURCES else (originals.paragraphs(kind, content), ())
    read_blocks = blocks(document, words, alt_texts) if kind is not Format.ODP or _has_slide_text(content) else ()
    own = _headers(read_blocks) if kind is Format.OUTLOOK else properties.read(kind, content)
    declared = own.get("title", "")
    # a sheet's name is a poor title, and often the program's default
    title = declared or _title(read_blocks) if kind in _SHEETS else _title(read_blocks) or declared
    return Content(blocks=read_blocks, title=title, properties=own)


def _has_slide_text(content: bytes) -> bool:
    """Whether any slide has text. docling gives a slide without a title the name of its page, which is the program's default."""
    with zipfile.ZipFile(BytesIO(content)) as archive:
        tree = properties.xml(archive, "content.xml")
    return tree is None or bool("".join(tree.itertext()).strip())


def _headers(read_blocks: tuple[Block, ...]) -> dict[str, str]:
    """A message's headers, which docling returns as its first paragraphs."""
    matches = (_HEADER.fullmatch(block.text) for block in read_blocks[:_HEADER_BLOCKS])
    subject = {"subject": title} if (title := _title(read_blocks)) else {}
    return {match[1].lower(): match[2] for match in matches if match} | subject


def _title(read_blocks: tuple[Block, ...]) -> str:
    return next((block.text for block in read_blocks if block.kind == "heading" and block.level == 1), "")


_Source = tuple[Paragraphs, tuple[str, ...]]


def _word(content: bytes) -> _Source:
    with zipfile.ZipFile(BytesIO(content)) as archive:
        tree = properties.xml(archive, "word/document.xml")
    if tree is None:
        return {}, ()
    words = (_text(paragraph, f"{_WORD}t", f"{_WORD}br", f"{_WORD}tab") for paragraph in tree.iter(f"{_WORD}p"))
    drawings = tree.iter(f"{_WORD_DRAWING}inline", f"{_WORD_DRAWING}anchor")
    pictures = (drawing for drawing in drawings if drawing.find(f".//{_DRAWING}blip") is not None)
    return index(words), tuple(_description(picture.find(f"{_WORD_DRAWING}docPr")) for picture in pictures)


def _slides(content: bytes) -> _Source:
    words: list[str] = []
    alt_texts: list[str] = []
    with zipfile.ZipFile(BytesIO(content)) as archive:
        for name in sorted(filter(_SLIDE.fullmatch, archive.namelist()), key=_number):
            tree = properties.xml(archive, name)
            if tree is not None:
                words += [_text(paragraph, f"{_DRAWING}t", f"{_DRAWING}br", "") for paragraph in tree.iter(f"{_DRAWING}p")]
                alt_texts += [_description(picture.find(f".//{_SLIDE_DRAWING}cNvPr")) for picture in tree.iter(f"{_SLIDE_DRAWING}pic")]
    return index(words), tuple(alt_texts)


_SOURCES: Mapping[Format, Callable[[bytes], _Source]] = {Format.DOCX: _word, Format.PPTX: _slides}


def _number(name: str) -> int:
    match = _NUMBERED.search(name)
    return int(match[1]) if match else 0


def _text(paragraph: etree._Element, text: str, line_break: str, tab: str) -> str:
    return "".join(_pieces(paragraph, text, line_break, tab)).strip()


def _pieces(paragraph: etree._Element, text: str, line_break: str, tab: str) -> Iterator[str]:
    for element in paragraph.iter(text, line_break, *filter(None, (tab,))):
        if element.tag == text:
            yield element.text or ""
        else:
            yield "\n" if element.tag == line_break else "\t"


def _description(element: etree._Element | None) -> str:
    """The picture's alt text as written by a person: not its file name, and without the note on generated descriptions."""
    words = _GUESSED.sub("", ("" if element is None else element.get("descr") or "").strip())
    return "" if _FILE_NAME.fullmatch(words) else words
