"""Format detection. Container signatures and leading markup take precedence over the declared media type and file name."""

from __future__ import annotations

import io
import re
import zipfile

from parsers.containers.archive import is_empty_tar, is_tar
from parsers.decoding import is_binary, opening
from parsers.formats import Format, by_media_type, by_name, declares_container, declares_tar, is_text
from parsers.reasons import ParseError

_HEAD = 4096
# white space, and the byte order mark of UTF-8
_BLANK = b" \t\r\n\v\f\xef\xbb\xbf"
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_BINARY = (b"{\\rtf", b"7z\xbc\xaf", b"Rar!", b"RIFF", b"\x7fELF", b"%!PS")
# gzip, bzip2 (with the magic of its first block, or of the end of a stream without blocks), xz
_COMPRESSED = re.compile(rb"\x1f\x8b\x08|BZh[1-9](?:1AY&SY|\x17rE8P\x90)|\xfd7zXZ\0")
# PNG, GIF, JPEG, TIFF, WebP, BMP (its reserved fields are zero)
_IMAGE = re.compile(rb"\x89PNG\r\n|GIF8[79]a|\xff\xd8\xff|II\*\0|MM\0\*|RIFF....WEBP|BM....\0\0\0\0", re.DOTALL)

# streams of a compound file that identify its format ([MS-DOC] 2.1.1, [MS-PPT] 2.1.2, [MS-XLS] 2.1.2)
_OLE_STREAMS = {"WordDocument": Format.DOC, "PowerPoint Document": Format.PPT, "Workbook": Format.XLS, "Book": Format.XLS}
_OPC = {"word/": Format.DOCX, "ppt/": Format.PPTX, "xl/": Format.XLSX}
_MIMETYPES = {
    "application/epub+zip": Format.EPUB,
    "application/vnd.oasis.opendocument.text": Format.ODT,
    "application/vnd.oasis.opendocument.spreadsheet": Format.ODS,
    "application/vnd.oasis.opendocument.presentation": Format.ODP,
}
_HTML = re.compile(r"(?:\s|<\?xml[^>]*>|<!--.*?-->)*<(?:!doctype\s+html|html[\s>])", re.IGNORECASE | re.DOTALL)
_JATS = re.compile(r"(?:\s|<\?xml[^>]*>|<!--.*?-->)*<(?:!DOCTYPE\s+article\b|article\b[^>]*(?:dtd-version|article-type|xlink))", re.DOTALL)
_MAIL_HEADER = re.compile(r"(?:[A-Za-z][A-Za-z0-9-]*:[^\n]*\n(?:[ \t][^\n]*\n)*){2,}\n")
_MAIL_NAMES = re.compile(r"^(?:from|to|subject|date|received|message-id|mime-version):", re.IGNORECASE | re.MULTILINE)
_MHTML = re.compile(r"^content-type:\s*multipart/related", re.IGNORECASE | re.MULTILINE)
_MARKUP = re.compile(r"<(?:p|div|h[1-6]|table|body|ul|ol)\b[^>]*>.*</", re.IGNORECASE | re.DOTALL)
_SUBRIP = re.compile(r"\s*\d+[ \t]*\n\d{1,2}:\d\d:\d\d[,.]\d{3} --> \d{1,2}:\d\d:\d\d")
_PEP = re.compile(r"PEP: \d+\nTitle: ")


def detect(content: bytes, media_type: str, file_name: str) -> Format:
    """The format of `content`.

    White space is text. Raises ParseError: `empty-document` (white space, declared as a container), `encrypted-document`,
    `corrupt-document` (a container that does not open, or NULs alone) or `unsupported-media-type`.
    """
    if not content.strip(_BLANK):
        if declares_container(media_type, file_name):
            raise ParseError("empty-document")
        return Format.TEXT
    return _container(content, media_type, file_name) or _text(content, media_type, file_name)


def _container(content: bytes, media_type: str, file_name: str) -> Format | None:
    if content.startswith(_ZIP):
        return _zip(content)
    if content.startswith(_OLE):
        return _ole(content)
    if is_pdf(content, media_type, file_name):
        return Format.PDF
    if _IMAGE.match(content) or _COMPRESSED.match(content):
        return Format.IMAGE if _IMAGE.match(content) else Format.COMPRESSED
    if is_tar(content) or (is_empty_tar(content) and declares_tar(media_type, file_name)):
        return Format.TAR
    if not content.strip(b"\0"):
        # what a file system leaves of a file that was not written before a crash
        raise ParseError("corrupt-document")
    if content.startswith(_BINARY) or is_binary(content):
        raise ParseError("unsupported-media-type")
    return None


def is_pdf(content: bytes, media_type: str, file_name: str) -> bool:
    """Whether the content is a PDF. Readers accept garbage before `%PDF-`, but text that only mentions it is not a PDF."""
    declared = "pdf" in media_type.lower() or file_name.lower().endswith(".pdf")
    return content[:1024].lstrip(b"\0\t\r\n \xef\xbb\xbf").startswith(b"%PDF-") or (declared and b"%PDF-" in content[:1024])


def _zip(content: bytes) -> Format:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _zip_members(archive)
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError, OverflowError) as error:
        raise ParseError("corrupt-document", type(error).__name__) from None


def _zip_members(archive: zipfile.ZipFile) -> Format:
    members = archive.infolist()
    names = {member.filename for member in members}
    kind = _opc(names) or _mimetype(archive, names)
    if kind is None and ("mimetype" in names or "[Content_Types].xml" in names):
        raise ParseError("unsupported-media-type")
    if kind is None:
        return Format.ZIP
    if any(member.flag_bits & 1 for member in members) or _odf_encrypted(archive, names):
        raise ParseError("encrypted-document")
    return kind


def _opc(names: set[str]) -> Format | None:
    if "[Content_Types].xml" not in names:
        return None
    return next((kind for folder, kind in _OPC.items() if any(name.startswith(folder) for name in names)), None)


def _mimetype(archive: zipfile.ZipFile, names: set[str]) -> Format | None:
    if "mimetype" not in names:
        return Format.EPUB if "META-INF/container.xml" in names else None
    with archive.open("mimetype") as member:
        declared = member.read(256).decode("ascii", errors="replace").strip()
    return _MIMETYPES.get(declared.removesuffix("-template"))


def _odf_encrypted(archive: zipfile.ZipFile, names: set[str]) -> bool:
    if "META-INF/manifest.xml" not in names:
        return False
    with archive.open("META-INF/manifest.xml") as member:
        return b"encryption-data" in member.read(1 << 20)


def _ole(content: bytes) -> Format:
    import olefile  # type: ignore[import-untyped]

    try:
        with olefile.OleFileIO(io.BytesIO(content)) as file:
            names = {path[0] for path in file.listdir(streams=True, storages=False)}
    except (OSError, ValueError, IndexError) as error:
        raise ParseError("corrupt-document", type(error).__name__) from None
    if names & {"EncryptedPackage", "EncryptionInfo"}:
        raise ParseError("encrypted-document")
    if "__properties_version1.0" in names:
        return Format.OUTLOOK
    kind = next((kind for stream, kind in _OLE_STREAMS.items() if stream in names), None)
    if kind is None:
        raise ParseError("unsupported-media-type")
    return kind


def _text(content: bytes, media_type: str, file_name: str) -> Format:
    head = opening(content, _HEAD)
    return _by_leading_markup(head) or by_media_type(media_type) or by_name(file_name) or _sniffed(head, media_type)


def _by_leading_markup(head: str) -> Format | None:
    if head.startswith("WEBVTT"):
        return Format.VTT
    if _HTML.match(head):
        return Format.HTML
    if _JATS.match(head):
        return Format.JATS
    return Format.SUBRIP if _SUBRIP.match(head) else None


def _sniffed(head: str, media_type: str) -> Format:
    mail = _MAIL_HEADER.match(head)
    if mail and len(_MAIL_NAMES.findall(mail.group())) >= 2:
        return Format.MHTML if _MHTML.search(mail.group()) else Format.EMAIL
    if _PEP.match(head):
        return Format.RESTRUCTURED
    if head.lstrip().startswith("<?xml"):
        return Format.XML
    if _MARKUP.search(head) and not is_text(media_type):
        return Format.HTML
    return Format.TEXT
