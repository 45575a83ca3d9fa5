"""The supported formats, and the media types and file name extensions that declare them. `parsers.detection` looks at the content first."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import PurePosixPath


class Format(StrEnum):
    """The format of a document's bytes; docs/formats.md lists what each reader keeps.

    `CODE` is text whose line breaks and indentation carry meaning. `COMPRESSED` is a single file in gzip, bzip2 or xz, most often a TAR.
    """

    HTML = "html"
    MARKDOWN = "markdown"
    RESTRUCTURED = "restructured"
    ASCIIDOC = "asciidoc"
    LATEX = "latex"
    TEXT = "text"
    CODE = "code"
    CSV = "csv"
    JSON = "json"
    JSON_LINES = "jsonl"
    XML = "xml"
    VTT = "vtt"
    SUBRIP = "srt"
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
    DOC = "doc"
    PPT = "ppt"
    XLS = "xls"
    PDF = "pdf"
    IMAGE = "image"
    ZIP = "zip"
    TAR = "tar"
    COMPRESSED = "compressed"


# text formats only: containers are detected by their content
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
    "application/json": Format.JSON,
    "application/jsonl": Format.JSON_LINES,
    "application/jsonlines": Format.JSON_LINES,
    "application/x-jsonlines": Format.JSON_LINES,
    "application/x-ndjson": Format.JSON_LINES,
    "application/xml": Format.XML,
    "text/xml": Format.XML,
    "application/x-subrip": Format.SUBRIP,
    "text/srt": Format.SUBRIP,
    "application/yaml": Format.CODE,
    "application/x-yaml": Format.CODE,
    "application/toml": Format.CODE,
    "application/javascript": Format.CODE,
    "application/sql": Format.CODE,
}

_OFFICE = "application/vnd.openxmlformats-officedocument."
_OPEN_DOCUMENT = "application/vnd.oasis.opendocument."
_USUAL: Mapping[Format, str] = {
    Format.HTML: "text/html",
    Format.MARKDOWN: "text/markdown",
    Format.RESTRUCTURED: "text/x-rst",
    Format.ASCIIDOC: "text/asciidoc",
    Format.LATEX: "application/x-tex",
    Format.TEXT: "text/plain",
    Format.CODE: "text/x-source",
    Format.CSV: "text/csv",
    Format.JSON: "application/json",
    Format.JSON_LINES: "application/jsonl",
    Format.XML: "application/xml",
    Format.VTT: "text/vtt",
    Format.SUBRIP: "application/x-subrip",
    Format.EMAIL: "message/rfc822",
    Format.OUTLOOK: "application/vnd.ms-outlook",
    Format.MHTML: "multipart/related",
    Format.JATS: "application/jats+xml",
    Format.DOCX: f"{_OFFICE}wordprocessingml.document",
    Format.PPTX: f"{_OFFICE}presentationml.presentation",
    Format.XLSX: f"{_OFFICE}spreadsheetml.sheet",
    Format.ODT: f"{_OPEN_DOCUMENT}text",
    Format.ODS: f"{_OPEN_DOCUMENT}spreadsheet",
    Format.ODP: f"{_OPEN_DOCUMENT}presentation",
    Format.EPUB: "application/epub+zip",
    Format.DOC: "application/msword",
    Format.PPT: "application/vnd.ms-powerpoint",
    Format.XLS: "application/vnd.ms-excel",
    Format.PDF: "application/pdf",
    Format.IMAGE: "image/*",
    Format.ZIP: "application/zip",
    Format.TAR: "application/x-tar",
    Format.COMPRESSED: "application/gzip",
}

_EXTENSIONS: Mapping[Format, str] = {
    Format.HTML: "html htm xhtml",
    Format.MARKDOWN: "md markdown mdown mkd qmd rmd",
    Format.RESTRUCTURED: "rst rest",
    Format.ASCIIDOC: "adoc asciidoc asc",
    Format.LATEX: "tex latex",
    Format.TEXT: "txt text log",
    Format.CSV: "csv tsv",
    Format.JSON: "json geojson",
    Format.JSON_LINES: "jsonl ndjson",
    Format.XML: "xml rss atom xsd wsdl svg",
    Format.VTT: "vtt",
    Format.SUBRIP: "srt",
    Format.EMAIL: "eml",
    Format.MHTML: "mhtml mht",
    Format.JATS: "nxml",
    Format.CODE: "py js ts tsx jsx java c h cc cpp hpp cs go rs rb php pl sh bash ps1 sql yaml yml toml ini cfg conf css"
    " scss kt swift scala r jl lua hs ex exs erl clj proto tf ipynb",
}

# formats that are detected by their content, as names and media types declare them
_CONTAINER_NAMES = (
    "pdf docx docm dotx pptx pptm xlsx xlsm odt ods odp epub doc ppt xls msg zip tar gz tgz bz2 xz png jpg jpeg gif tiff tif webp bmp"
)
_CONTAINERS = frozenset(_CONTAINER_NAMES.split())
_CONTAINER_TYPES = re.compile(r"image/|application/(?:pdf|zip|gzip|x-(?:tar|gzip|bzip2?|xz)|epub\+zip|msword|vnd\.(?:ms-|openxml|oasis\.))")

# structured syntax suffixes (RFC 6839)
_BY_SUFFIX: Mapping[str, Format] = {"json": Format.JSON, "xml": Format.XML, "yaml": Format.CODE}
_BY_EXTENSION: Mapping[str, Format] = {extension: kind for kind, extensions in _EXTENSIONS.items() for extension in extensions.split()}


def usual_media_type(format_: str) -> str:
    """The media type by which searches filter documents of a format, whatever their publishers declared; empty for no format."""
    return _USUAL[Format(format_)] if format_ else ""


def by_media_type(media_type: str) -> Format | None:
    """The text format that a media type declares. `text/plain` declares none: publishers use it for any text."""
    essence = media_type.split(";", maxsplit=1)[0].strip().lower()
    if essence in _MEDIA_TYPES:
        return _MEDIA_TYPES[essence]
    if suffix := _BY_SUFFIX.get(essence.rpartition("+")[2] if "+" in essence else ""):
        return suffix
    return Format.CODE if essence.startswith("text/x-") and essence != "text/x-log" else None


def by_name(file_name: str) -> Format | None:
    """The text format that a file name's extension declares."""
    return _BY_EXTENSION.get(_extension(file_name))


def declares_container(media_type: str, file_name: str) -> bool:
    """Whether the media type or the file name declares a format whose files begin with a signature, so that none is blank."""
    if by_media_type(media_type) or is_text(media_type):
        return False
    return bool(_CONTAINER_TYPES.match(media_type.strip().lower())) or _extension(file_name) in _CONTAINERS


def declares_tar(media_type: str, file_name: str) -> bool:
    """Whether the media type or the file name declares a TAR."""
    return media_type.strip().lower().startswith("application/x-tar") or _extension(file_name) == "tar"


def _extension(file_name: str) -> str:
    return PurePosixPath(file_name.replace("\\", "/")).suffix.lower().removeprefix(".")


def is_text(media_type: str) -> bool:
    """Whether the media type declares text."""
    return media_type.strip().lower().startswith("text/")
