"""Insert spaces into a source between texts that docling would run together: a joined number or name would escape detection.

Only spaces are added here, and nothing is removed; `parsers.docling.office` reads the formats.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO

from lxml import etree  # type: ignore[import-untyped]

from parsers.formats import Format
from parsers.properties import xml

_LINK = re.compile(rb"\\href\s*(\{[^{}]*\})\s*(?=\{)")
_SVG = "{urn:oasis:names:tc:opendocument:xmlns:svg-compatible:1.0}"
_BODY = "content.xml"


def separate(kind: Format, content: bytes) -> bytes:
    """The content with the spaces inserted; unchanged if its format needs none."""
    return _SEPARATORS[kind](content) if kind in _SEPARATORS else content


def _latex(content: bytes) -> bytes:
    r"""Turn `\href{address}{text}` into the address and the text, with a space between."""
    return _LINK.sub(rb"\\url\1 ", content)


def _open_document(content: bytes) -> bytes:
    """Surround a picture's title and description with spaces: they are part of the paragraph that contains the picture."""
    with zipfile.ZipFile(BytesIO(content)) as archive:
        body = xml(archive, _BODY)
        descriptions = [] if body is None else list(body.iter(f"{_SVG}title", f"{_SVG}desc"))
        for element in descriptions:
            element.text = f" {element.text or ''} "
        return _with_body(archive, etree.tostring(body, encoding="utf-8")) if descriptions else content


def _with_body(archive: zipfile.ZipFile, body: bytes) -> bytes:
    written = BytesIO()
    with zipfile.ZipFile(written, "w") as copy:
        for name in archive.namelist():
            # docling does not read the pictures
            copy.writestr(name, body if name == _BODY else b"" if name.startswith("Pictures/") else archive.read(name))
    return written.getvalue()


_SEPARATORS: Mapping[Format, Callable[[bytes], bytes]] = {
    Format.LATEX: _latex,
    Format.ODT: _open_document,
    Format.ODP: _open_document,
    Format.ODS: _open_document,
}
