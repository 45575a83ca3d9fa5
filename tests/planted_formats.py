"""One maker for each format, and how a document of it is broken off."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from parsers import Format
from tests import planted, planted_files
from tests.canaries import Plant

Maker = Callable[[Plant], bytes]

MAKERS: Mapping[Format, tuple[str, Maker]] = {
    Format.HTML: ("html", planted.html),
    Format.MARKDOWN: ("md", planted.markdown),
    Format.RESTRUCTURED: ("rst", planted.restructured),
    Format.ASCIIDOC: ("adoc", planted.asciidoc),
    Format.LATEX: ("tex", planted.latex),
    Format.TEXT: ("txt", planted.text),
    Format.CODE: ("py", planted.code),
    Format.CSV: ("csv", planted.table),
    Format.JSON: ("json", planted.data),
    Format.JSON_LINES: ("jsonl", planted.data_lines),
    Format.XML: ("xml", planted.xml),
    Format.JATS: ("nxml", planted.jats),
    Format.VTT: ("vtt", planted.vtt),
    Format.SUBRIP: ("srt", planted.srt),
    Format.EMAIL: ("eml", planted.message),
    Format.MHTML: ("mht", planted.saved_page),
    Format.OUTLOOK: ("msg", planted_files.outlook),
    Format.DOCX: ("docx", planted_files.word),
    Format.PPTX: ("pptx", planted_files.slides),
    Format.XLSX: ("xlsx", planted_files.sheets),
    Format.ODT: ("odt", partial(planted_files.open_document, kind="text")),
    Format.ODS: ("ods", partial(planted_files.open_document, kind="spreadsheet")),
    Format.ODP: ("odp", partial(planted_files.open_document, kind="presentation")),
    Format.EPUB: ("epub", planted_files.book),
    Format.DOC: ("doc", planted_files.legacy_word),
    Format.PPT: ("ppt", planted_files.legacy_slides),
    Format.XLS: ("xls", planted_files.legacy_sheets),
    Format.PDF: ("pdf", planted_files.printed),
    Format.IMAGE: ("png", planted_files.photo),
    Format.ZIP: ("zip", planted_files.archive),
    Format.TAR: ("tar", planted_files.tarred),
    Format.COMPRESSED: ("gz", planted_files.compressed),
}

_WHOLE = (b"\nendobj\n", b"\n\0\n\0", b"\n\n", b"\n", b">", b", ")
"""Between what a document may be broken off, so that no canary is: half an address is none any more, and stands in clear."""


def broken_off(content: bytes) -> bytes:
    """About the first half of it."""
    half = content[: len(content) // 2]
    if content.startswith((b"PK", b"\xd0\xcf", b"\x1f\x8b", b"BZ", b"\x89PNG")):
        return half
    end = next((end for end in _WHOLE if end in half), b"")
    kept = half[: half.rindex(end) + len(end)]
    # a canary may have a line break of its own, behind its @
    return broken_off(kept) if kept.rstrip().endswith(b"@") else kept
