"""docling's readers, one per format: bytes → DoclingDocument. No pipeline and no model is used, and nothing is fetched."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from io import BytesIO
from typing import Any, NamedTuple

from docling.backend.noop_backend import NoOpBackend
from docling.datamodel import backend_options
from docling.datamodel.base_models import InputFormat
from docling.datamodel.document import InputDocument
from docling_core.types.doc.document import DoclingDocument
from lxml import etree  # type: ignore[import-untyped]

from parsers.formats import Format
from parsers.reasons import ParseError


class _Backend(NamedTuple):
    module: str
    name: str
    options: Any
    extension: str


_OFFLINE = {"enable_remote_fetch": False, "enable_local_fetch": False}
# `infer_furniture` would drop content before the first heading
_WEB = backend_options.HTMLBackendOptions(infer_furniture=False, add_title=False, **_OFFLINE)
# docling's own limits on a book's members suit servers with many books in memory; here memory and time are limited
_BOOK_BYTES = 1 << 30

_BACKENDS: Mapping[Format, _Backend] = {
    Format.HTML: _Backend("html_backend", "HTMLDocumentBackend", _WEB, "html"),
    Format.ASCIIDOC: _Backend("asciidoc_backend", "AsciiDocBackend", backend_options.AsciiDocBackendOptions(**_OFFLINE), "adoc"),
    Format.LATEX: _Backend("latex_backend", "LatexDocumentBackend", None, "tex"),
    Format.VTT: _Backend("webvtt_backend", "WebVTTDocumentBackend", None, "vtt"),
    Format.OUTLOOK: _Backend("email_backend", "EmailDocumentBackend", None, "msg"),
    Format.JATS: _Backend("xml.jats_backend", "JatsDocumentBackend", backend_options.JatsBackendOptions(**_OFFLINE), "nxml"),
    Format.DOCX: _Backend("msword_backend", "MsWordDocumentBackend", None, "docx"),
    Format.PPTX: _Backend("mspowerpoint_backend", "MsPowerpointDocumentBackend", None, "pptx"),
    Format.XLSX: _Backend("msexcel_backend", "MsExcelDocumentBackend", None, "xlsx"),
    Format.ODT: _Backend("opendocument_backend", "OdtDocumentBackend", None, "odt"),
    Format.ODS: _Backend("opendocument_backend", "OdsDocumentBackend", None, "ods"),
    Format.ODP: _Backend("opendocument_backend", "OdpDocumentBackend", None, "odp"),
    Format.EPUB: _Backend(
        "epub_backend",
        "EpubDocumentBackend",
        backend_options.EpubBackendOptions(max_total_bytes=_BOOK_BYTES, max_file_bytes=_BOOK_BYTES, max_member_count=100_000, **_OFFLINE),
        "epub",
    ),
}

_JATS_DOCTYPE = '<!DOCTYPE article SYSTEM "JATS-archivearticle1.dtd">'
_INPUT_FORMATS: Mapping[Format, InputFormat] = {
    Format.JATS: InputFormat.XML_JATS,
    Format.OUTLOOK: InputFormat.EMAIL,
}


@cache
def load(kind: Format) -> type[Any]:
    """Import the format's reader."""
    backend = _BACKENDS[kind]
    loaded: type[Any] = getattr(import_module(f"docling.backend.{backend.module}"), backend.name)
    return loaded


def convert(content: bytes, kind: Format) -> DoclingDocument:
    """The document as docling reads it, under a neutral file name. Raises ParseError `corrupt-document`, or whatever docling raises."""
    backend = _BACKENDS[kind]
    content = _with_doctype(content) if kind is Format.JATS else content
    input_format = _INPUT_FORMATS.get(kind) or InputFormat(kind.value)
    described = InputDocument(
        path_or_stream=BytesIO(content), format=input_format, backend=NoOpBackend, filename=f"document.{backend.extension}"
    )
    arguments = {} if backend.options is None else {"options": backend.options}
    reader = load(kind)(described, BytesIO(content), **arguments)
    if not reader.is_valid():
        raise ParseError("corrupt-document")
    document: DoclingDocument = reader.convert()
    return document


def _with_doctype(article: bytes) -> bytes:
    """The article with JATS's document type: docling requires it, and many articles lack it. Declared entities are dropped."""
    parser = etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True, huge_tree=True)
    written: bytes = etree.tostring(etree.fromstring(article, parser), doctype=_JATS_DOCTYPE, encoding="utf-8")
    return written
