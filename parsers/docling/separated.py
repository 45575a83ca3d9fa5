"""Sources in which two texts are put apart that their reader would run together: what ends with another word is no number and no name.

Whole formats are read elsewhere; here a space is added, and nothing is taken away.
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
_TOLD = "{urn:oasis:names:tc:opendocument:xmlns:svg-compatible:1.0}"
_BODY = "content.xml"


def separated(kind: Format, content: bytes) -> bytes:
    """The content as its reader may have it; the same where there is nothing to put apart."""
    return _APART[kind](content) if kind in _APART else content


def _latex(content: bytes) -> bytes:
    r"""Of `\href{address}{text}` both are kept, one after the other."""
    return _LINK.sub(rb"\\url\1 ", content)


def _open_document(content: bytes) -> bytes:
    """A picture's title and description stand within the text that it is in."""
    with zipfile.ZipFile(BytesIO(content)) as archive:
        body = xml(archive, _BODY)
        told = [] if body is None else list(body.iter(f"{_TOLD}title", f"{_TOLD}desc"))
        for element in told:
            element.text = f" {element.text or ''} "
        return _with_body(archive, etree.tostring(body, encoding="utf-8")) if told else content


def _with_body(archive: zipfile.ZipFile, body: bytes) -> bytes:
    written = BytesIO()
    with zipfile.ZipFile(written, "w") as copy:
        for name in archive.namelist():
            # its reader looks at no picture
            copy.writestr(name, body if name == _BODY else b"" if name.startswith("Pictures/") else archive.read(name))
    return written.getvalue()


_APART: Mapping[Format, Callable[[bytes], bytes]] = {
    Format.LATEX: _latex,
    Format.ODT: _open_document,
    Format.ODP: _open_document,
    Format.ODS: _open_document,
}
