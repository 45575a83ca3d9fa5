"""The formats that can be read, and the media types and file name endings that declare them. Content decides in `parsers.detection`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import PurePosixPath


class Format(StrEnum):
    """How a document's bytes are to be read. `CODE` is text whose line breaks and indents carry meaning."""

    HTML = "html"
    MARKDOWN = "markdown"
    RESTRUCTURED = "restructured"
    ASCIIDOC = "asciidoc"
    LATEX = "latex"
    TEXT = "text"
    CODE = "code"
    CSV = "csv"
    VTT = "vtt"
    EMAIL = "email"
    OUTLOOK = "outlook"
    MHTML = "mhtml"
    JATS = "jats"
    DOCX = "docx"
    PPTX = "pptx"
    XLSX = "xlsx"
    ODT = "odt"
    ODS = "ods"
    ODP = "odp"
    EPUB = "epub"
    PDF = "pdf"


# text formats only: containers are told by what is in them
_MEDIA_TYPES: Mapping[str, Format] = {
    "text/html": Format.HTML,
    "application/xhtml+xml": Format.HTML,
    "text/markdown": Format.MARKDOWN,
    "text/x-markdown": Format.MARKDOWN,
    "text/x-rst": Format.RESTRUCTURED,
    "text/restructuredtext": Format.RESTRUCTURED,
    "text/x-restructuredtext": Format.RESTRUCTURED,
    "text/prs.fallenstein.rst": Format.RESTRUCTURED,
    "text/asciidoc": Format.ASCIIDOC,
    "text/x-asciidoc": Format.ASCIIDOC,
    "text/x-tex": Format.LATEX,
    "text/x-latex": Format.LATEX,
    "application/x-tex": Format.LATEX,
    "application/x-latex": Format.LATEX,
    "text/csv": Format.CSV,
    "text/tab-separated-values": Format.CSV,
    "text/vtt": Format.VTT,
    "message/rfc822": Format.EMAIL,
    "multipart/related": Format.MHTML,
    "application/x-mimearchive": Format.MHTML,
    "application/jats+xml": Format.JATS,
    "application/json": Format.CODE,
    "application/xml": Format.CODE,
    "application/yaml": Format.CODE,
    "application/x-yaml": Format.CODE,
    "application/toml": Format.CODE,
    "application/javascript": Format.CODE,
    "application/sql": Format.CODE,
}

_ENDINGS: Mapping[Format, str] = {
    Format.HTML: "html htm xhtml",
    Format.MARKDOWN: "md markdown mdown mkd qmd rmd",
    Format.RESTRUCTURED: "rst rest",
    Format.ASCIIDOC: "adoc asciidoc asc",
    Format.LATEX: "tex latex",
    Format.TEXT: "txt text log",
    Format.CSV: "csv tsv",
    Format.VTT: "vtt",
    Format.EMAIL: "eml",
    Format.MHTML: "mhtml mht",
    Format.JATS: "nxml",
    Format.CODE: "py js ts tsx jsx java c h cc cpp hpp cs go rs rb php pl sh bash ps1 sql json jsonl yaml yml toml ini cfg conf xml css"
    " scss kt swift scala r jl lua hs ex exs erl clj proto tf ipynb",
}

_BY_ENDING: Mapping[str, Format] = {ending: kind for kind, endings in _ENDINGS.items() for ending in endings.split()}


def by_media_type(media_type: str) -> Format | None:
    """The text format that a media type declares. `text/plain` declares none: publishers use it for whatever is text."""
    essence = media_type.split(";", maxsplit=1)[0].strip().lower()
    if essence in _MEDIA_TYPES:
        return _MEDIA_TYPES[essence]
    if essence.endswith(("+json", "+xml", "+yaml")) or (essence.startswith("text/x-") and essence != "text/x-log"):
        return Format.CODE
    return None


def by_name(file_name: str) -> Format | None:
    """The text format that a file name's ending stands for."""
    return _BY_ENDING.get(PurePosixPath(file_name.replace("\\", "/")).suffix.lower().removeprefix("."))


def is_text(media_type: str) -> bool:
    """Whether the media type claims to be text of some kind."""
    return media_type.strip().lower().startswith("text/")
