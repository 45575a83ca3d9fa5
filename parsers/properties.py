"""A file's own properties (author, subject, keywords …), from the member of each container that stores them."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import PurePosixPath

from lxml import etree  # type: ignore[import-untyped]

from parsers.formats import Format

_MEMBER_BYTES = 64 * 1024 * 1024
_NAMES: Mapping[str, str] = {
    "title": "title",
    "creator": "author",
    "initial-creator": "author",
    "subject": "subject",
    "description": "description",
    "keywords": "keywords",
    "keyword": "keywords",
    "category": "category",
    "lastModifiedBy": "last_modified_by",
    "publisher": "publisher",
    "language": "language",
    "contributor": "contributor",
}


def read(kind: Format, content: bytes) -> dict[str, str]:
    """The properties of a container of this kind; empty if it has none."""
    if kind not in _METADATA:
        return {}
    with zipfile.ZipFile(BytesIO(content)) as archive:
        tree = _METADATA[kind](archive)
    return _collect(tree) if tree is not None else {}


def xml(archive: zipfile.ZipFile, name: str) -> etree._Element | None:
    """A member as XML without entities, DTDs or network; None if it is missing, broken or larger than 64 MiB."""
    try:
        with archive.open(name) as member:
            source = member.read(_MEMBER_BYTES + 1)
        return etree.fromstring(source, xml_parser()) if len(source) <= _MEMBER_BYTES else None
    except (KeyError, etree.XMLSyntaxError, zipfile.BadZipFile, NotImplementedError, ValueError):
        return None


def xml_parser() -> etree.XMLParser:
    """A parser for untrusted documents: resolves no entity, DTD or file, fetches nothing, drops comments and processing instructions."""
    return etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True, huge_tree=True, remove_comments=True, remove_pis=True)


def _office(archive: zipfile.ZipFile) -> etree._Element | None:
    return xml(archive, "docProps/core.xml")


def _open_document(archive: zipfile.ZipFile) -> etree._Element | None:
    tree = xml(archive, "meta.xml")
    return None if tree is None else tree.find("{*}meta")


def epub_package(archive: zipfile.ZipFile) -> tuple[str, etree._Element | None]:
    """The path of a book's package document, which lists its chapters, and the document; None if it is missing or broken."""
    container = xml(archive, "META-INF/container.xml")
    root = None if container is None else container.find(".//{*}rootfile")
    path = "" if root is None else str(PurePosixPath(root.get("full-path") or ""))
    return path, xml(archive, path) if path else None


def _epub(archive: zipfile.ZipFile) -> etree._Element | None:
    _, package = epub_package(archive)
    return None if package is None else package.find("{*}metadata")


_METADATA: Mapping[Format, Callable[[zipfile.ZipFile], etree._Element | None]] = {
    Format.DOCX: _office,
    Format.PPTX: _office,
    Format.XLSX: _office,
    Format.ODT: _open_document,
    Format.ODS: _open_document,
    Format.ODP: _open_document,
    Format.EPUB: _epub,
}


def _collect(tree: etree._Element) -> dict[str, str]:
    properties: dict[str, list[str]] = {}
    for name, value in _pairs(tree):
        if value not in properties.setdefault(name, []):
            properties[name].append(value)
    return {name: ", ".join(values) for name, values in properties.items()}


def _pairs(tree: etree._Element) -> Iterator[tuple[str, str]]:
    for element in tree:
        name = _NAMES.get(etree.QName(element).localname) if isinstance(element.tag, str) else None
        value = " ".join("".join(element.itertext()).split())
        if name and value:
            yield name, value
