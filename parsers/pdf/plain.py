"""PDFs by pdfium: opening a document, its properties, and its pages at the grade `text`, with lines in the file's order."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any, NamedTuple

import pypdfium2
import pypdfium2.raw as pdfium

from parsers.pdf.pages import Box, Page, Word, clean, largest_share
from parsers.reasons import ParseError

_KEPT = ("Title", "Author", "Subject", "Keywords")
_MOST_LINK_BYTES = 4096
# a page with more words is not searched for pictures
_FEW_WORDS = 20
# pdfium's characters for a hyphen at the end of a line
_HYPHENS = str.maketrans({"\x02": "-", "\ufffe": "-"})


def opened(content: bytes) -> Any:
    """pdfium's document; the caller closes it. pdfium decides whether a document opens: it is strict about passwords, tolerant of damage.

    Raises ParseError: `encrypted-document` if a password is required, `corrupt-document` if the document does not open.
    """
    try:
        return pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        reason = "encrypted-document" if "password" in str(error).lower() else "corrupt-document"
        raise ParseError(reason, type(error).__name__) from None


def properties(document: Any) -> dict[str, str]:
    """The file's title, author, subject and keywords."""
    metadata = document.get_metadata_dict()
    return {name.lower(): text for name in _KEPT if (text := " ".join(clean(metadata.get(name, "")).split()))}


def pages(document: Any) -> Iterator[Page]:
    """Every page."""
    for at in range(len(document)):
        yield page(document, at)


def page(document: Any, at: int) -> Page:
    """The page at index `at` from 0; an empty page if pdfium cannot read it, so that the other pages are kept."""
    try:
        opened_page = document[at]
    except pypdfium2.PdfiumError:
        return Page(at + 1, 0, 0, [], [], [], painted=False, grade="")
    paper = _Paper.of(opened_page)
    words = list(_rectangles(opened_page.get_textpage(), paper))
    painted = pdfium.FPDFPage_CountObjects(opened_page) > 0
    pictured = largest_share(_pictures(opened_page, paper), paper.width, paper.height) if painted and len(words) < _FEW_WORDS else 0.0
    links = list(_links(document, opened_page, paper))
    return Page(at + 1, paper.width, paper.height, words, [], links, painted, "text", pictured)


class _Paper(NamedTuple):
    """The visible part of a page, `width` by `height` points, and its place in pdfium's coordinates (from the lower left, not rotated)."""

    left: float
    bottom: float
    right: float
    top: float
    rotation: int
    width: float
    height: float

    @classmethod
    def of(cls, page: Any) -> _Paper:
        left, bottom, right, top = page.get_cropbox()
        width, height = page.get_size()
        return cls(left, bottom, right, top, page.get_rotation(), width, height)

    def place(self, left: float, bottom: float, right: float, top: float) -> Box:
        """The place on the visible page, which is rotated clockwise by `rotation` degrees (ISO 32000-1, table 30)."""
        across = (left - self.left, right - self.left)
        up = (bottom - self.bottom, top - self.bottom)
        if self.rotation == 90:
            return Box(up[0], across[0], up[1], across[1])
        if self.rotation == 180:
            return Box(self.width - across[1], up[0], self.width - across[0], up[1])
        if self.rotation == 270:
            return Box(self.width - up[1], self.height - across[1], self.width - up[0], self.height - across[0])
        return Box(across[0], self.height - up[1], across[1], self.height - up[0])


def _pictures(page: Any, paper: _Paper) -> Iterator[Box]:
    for picture in page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_IMAGE]):
        yield paper.place(*picture.get_bounds())


def _rectangles(text: Any, paper: _Paper) -> Iterator[Word]:
    for at in range(text.count_rects()):
        place = text.get_rect(at)
        words = clean(text.get_text_bounded(*place)).translate(_HYPHENS).split()
        if words:
            yield Word(*paper.place(*place), " ".join(words))


def _links(document: Any, page: Any, paper: _Paper) -> Iterator[tuple[Box, str]]:
    """The page's links to URIs, by pdfium's C API (fpdf_doc.h)."""
    at, link = ctypes.c_int(0), pdfium.FPDF_LINK()
    while pdfium.FPDFLink_Enumerate(page, at, link):
        target, place = _target(document, link), pdfium.FS_RECTF()
        if target and pdfium.FPDFLink_GetAnnotRect(link, place):
            yield paper.place(place.left, place.bottom, place.right, place.top), target


def _target(document: Any, link: Any) -> str:
    action = pdfium.FPDFLink_GetAction(link)
    buffer = ctypes.create_string_buffer(_MOST_LINK_BYTES)
    length = pdfium.FPDFAction_GetURIPath(document, action, buffer, _MOST_LINK_BYTES) if action else 0
    return clean(buffer.raw[: length - 1].decode("utf-8", "replace")) if 0 < length <= _MOST_LINK_BYTES else ""
