"""Which reader reads which format. A format's libraries are imported when its reader is asked for, not before."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib import import_module

from core.records import Content
from parsers.formats import Format

Reader = Callable[..., Content]
"""bytes → Content; of a PDF, with the `grade`."""

_READERS: Mapping[Format, str] = {
    Format.TEXT: "plain.text",
    Format.CODE: "plain.code",
    Format.CSV: "plain.table",
    Format.JSON: "data.read_json",
    Format.JSON_LINES: "data.read_json_lines",
    Format.XML: "data.read_xml",
    Format.SUBRIP: "plain.subtitles",
    Format.RESTRUCTURED: "restructured.read",
    Format.EMAIL: "mail.read",
    Format.OUTLOOK: "mail.outlook",
    Format.MHTML: "mail.saved_page",
    Format.HTML: "web.html",
    Format.MARKDOWN: "web.markdown",
    Format.PDF: "pdf.read",
    Format.DOC: "legacy.word",
    Format.PPT: "legacy.slides",
    Format.XLS: "legacy.sheets",
    Format.IMAGE: "ocr.read_image",
    Format.ZIP: "archive.zipped",
    Format.TAR: "archive.tarred",
    Format.COMPRESSED: "archive.compressed",
}


@cache
def reader(kind: Format, grade: str) -> Reader:
    """The function that reads a format: bytes → Content; a PDF at this grade. It raises what its library raises (`parsers.reasons`)."""
    read = partial(_loaded(kind), grade=grade) if kind is Format.PDF else _loaded(kind)
    if kind is Format.IMAGE:
        import_module("parsers.pdf.recognition").load()
    # what is loaded stays: the collector need not walk docling's modules after every document
    gc.collect()
    gc.freeze()
    return read


def _loaded(kind: Format) -> Reader:
    if kind in _READERS:
        module, name = _READERS[kind].split(".")
        read: Reader = getattr(import_module(f"parsers.{module}"), name)
        return read
    from parsers.docling import office

    office.load(kind)
    return partial(office.read, kind)
