"""One maker of documents for each format, and truncation of its documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from parsers import Format
from tests.canaries import canary_documents, canary_files
from tests.canaries.values import FieldCanaries

Maker = Callable[[FieldCanaries], bytes]

MAKERS: Mapping[Format, tuple[str, Maker]] = {
    Format.HTML: ("html", canary_documents.html),
    Format.MARKDOWN: ("md", canary_documents.markdown),
    Format.RESTRUCTURED: ("rst", canary_documents.restructured),
    Format.ASCIIDOC: ("adoc", canary_documents.asciidoc),
    Format.LATEX: ("tex", canary_documents.latex),
    Format.TEXT: ("txt", canary_documents.text),
    Format.CODE: ("py", canary_documents.code),
    Format.CSV: ("csv", canary_documents.table),
    Format.JSON: ("json", canary_documents.data),
    Format.JSON_LINES: ("jsonl", canary_documents.data_lines),
    Format.XML: ("xml", canary_documents.xml),
    Format.JATS: ("nxml", canary_documents.jats),
    Format.VTT: ("vtt", canary_documents.vtt),
    Format.SUBRIP: ("srt", canary_documents.srt),
    Format.EMAIL: ("eml", canary_documents.message),
    Format.MHTML: ("mht", canary_documents.saved_page),
    Format.OUTLOOK: ("msg", canary_files.outlook),
    Format.DOCX: ("docx", canary_files.word),
    Format.PPTX: ("pptx", canary_files.slides),
    Format.XLSX: ("xlsx", canary_files.sheets),
    Format.ODT: ("odt", partial(canary_files.open_document, kind="text")),
    Format.ODS: ("ods", partial(canary_files.open_document, kind="spreadsheet")),
    Format.ODP: ("odp", partial(canary_files.open_document, kind="presentation")),
    Format.EPUB: ("epub", canary_files.book),
    Format.DOC: ("doc", canary_files.legacy_word),
    Format.PPT: ("ppt", canary_files.legacy_slides),
    Format.XLS: ("xls", canary_files.legacy_sheets),
    Format.PDF: ("pdf", canary_files.printed),
    Format.IMAGE: ("png", canary_files.photo),
    Format.ZIP: ("zip", canary_files.archive),
    Format.TAR: ("tar", canary_files.tarred),
    Format.COMPRESSED: ("gz", canary_files.compressed),
}

_WHOLE = (b"\nendobj\n", b"\n\0\n\0", b"\n\n", b"\n", b">", b", ")
"""Where a document may be cut without cutting a canary: half an address is no address, and would not be redacted."""


def truncated(content: bytes) -> bytes:
    """About the first half of a document."""
    half = content[: len(content) // 2]
    if content.startswith((b"PK", b"\xd0\xcf", b"\x1f\x8b", b"BZ", b"\x89PNG")):
        return half
    end = next((end for end in _WHOLE if end in half), b"")
    kept = half[: half.rindex(end) + len(end)]
    # a canary may have a line break after its @
    return truncated(kept) if kept.rstrip().endswith(b"@") else kept
