"""The reader of each format. A format's libraries are imported when its reader is first requested, not before."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib import import_module

from core.records import Content
from parsers.formats import Format

Reader = Callable[..., Content]
"""bytes → Content; the PDF reader also takes the `grade`."""

_READERS: Mapping[Format, str] = {
    Format.TEXT: "text.plain:text",
    Format.CODE: "text.plain:code",
    Format.CSV: "text.plain:table",
    Format.JSON: "text.data:read_json",
    Format.JSON_LINES: "text.data:read_json_lines",
    Format.XML: "text.data:read_xml",
    Format.SUBRIP: "text.plain:subtitles",
    Format.RESTRUCTURED: "text.rst:read",
    Format.EMAIL: "containers.mail:read",
    Format.OUTLOOK: "containers.mail:outlook",
    Format.MHTML: "containers.mail:saved_page",
    Format.HTML: "docling.web:html",
    Format.MARKDOWN: "docling.web:markdown",
    Format.PDF: "pdf.reader:read",
    Format.DOC: "legacy.ole:word",
    Format.PPT: "legacy.ole:slides",
    Format.XLS: "legacy.ole:sheets",
    Format.IMAGE: "pdf.ocr:read_image",
    Format.ZIP: "containers.archive:read_zip",
    Format.TAR: "containers.archive:read_tar",
    Format.COMPRESSED: "containers.archive:read_compressed",
}


@cache
def reader(kind: Format, grade: str) -> Reader:
    """The function that reads a format: bytes → Content, a PDF at this grade.

    It raises whatever its library raises; `parsers.reasons.classify` maps that to a reason.
    """
    read = partial(_load(kind), grade=grade) if kind is Format.PDF else _load(kind)
    if kind is Format.IMAGE:
        import_module("parsers.pdf.recognition").load()
    # loaded modules stay loaded: freezing spares the collector a walk over docling's modules after every document
    gc.collect()
    gc.freeze()
    return read


def _load(kind: Format) -> Reader:
    if kind in _READERS:
        module, name = _READERS[kind].split(":")
        read: Reader = getattr(import_module(f"parsers.{module}"), name)
        return read
    from parsers.docling import office

    office.load(kind)
    return partial(office.read, kind)
