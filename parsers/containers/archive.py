"""Archives → their members as children: ZIP, TAR, and a single file in gzip, bzip2 or xz. Nothing is unpacked to disk.

One level is read, bounded in number, size and compression ratio; a nested archive is read later, as a document of its own. An encrypted
or broken member becomes a child with a reason and does not fail the others. A member's name identifies it, and is never a path to write to.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple
from unicodedata import normalize

from msgspec import structs

from core.records import Block, Child, Content, Signals
from parsers.reasons import ParseError

MOST_MEMBERS = 2000
MOST_BYTES = 256 << 20
# deflate reaches 1032, ordinary text 3 to 30; small members are not checked
MOST_RATIO = 200
_RATIO_FROM_BYTES = 1 << 20

_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    OSError,
    EOFError,
    NotImplementedError,
    ValueError,
    OverflowError,
)
# files that file managers leave behind
_LEFTOVERS = re.compile(r"(?:^|/)(?:__MACOSX(?:/|$)|\.DS_Store$|Thumbs\.db$|desktop\.ini$|\._[^/]*$)")
_LONGEST_PATH = 500
_BANGS = re.compile(r"!+/")
_DRIVE = re.compile(r"^[A-Za-z]:")
_GZIP_HEADER, _GZIP_NAME_ONLY = 10, 8
_ENCRYPTED = 1
_TAR_BLOCK, _TAR_END = 512, 1024


class _File(NamedTuple):
    """A file of an archive, with its declared `size` in bytes; `packed` is its compressed size, 0 if not declared."""

    name: str
    size: int
    packed: int
    read: Callable[[int], bytes]


def read_zip(content: bytes) -> Content:
    """A ZIP's files.

    Raises ParseError: `archive-too-large`, `archive-bomb`, `corrupt-document`, or the first member's reason if there are members and none
    can be read.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _contents(_zip_files(archive))
    except _BROKEN as error:
        raise ParseError("corrupt-document", type(error).__name__) from None


def read_tar(content: bytes) -> Content:
    """A TAR's files; links and devices are counted and skipped. Raises as `read_zip`."""
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            return _contents(_tar_files(archive))
    except _BROKEN as error:
        raise ParseError("corrupt-document", type(error).__name__) from None


def read_compressed(content: bytes) -> Content:
    """The members of a compressed TAR, or the single compressed file. Raises as `read_zip`."""
    try:
        unpacked = _decompress(content)
    except _BROKEN as error:
        raise ParseError("corrupt-document", type(error).__name__) from None
    if is_tar(unpacked) or is_empty_tar(unpacked):
        return read_tar(unpacked)
    return _with_names([Child(_gzip_name(content) or "content", unpacked)], Counter())


def is_tar(content: bytes) -> bool:
    """Whether the content has the magic of a POSIX or GNU TAR."""
    return content[257:262] == b"ustar"


def is_empty_tar(content: bytes) -> bool:
    """Whether the content is the end of a TAR without members: blocks of NULs. A damaged file may look the same."""
    return len(content) >= _TAR_END and not len(content) % _TAR_BLOCK and not content.strip(b"\0")


def paths(names: Iterable[str]) -> Iterator[str]:
    """Names as unique relative paths within a document: without drives, roots and `..`; a repeated name gets a number."""
    used: set[str] = set()
    for name in names:
        clean = _clean(name) or "unnamed"
        path, number = clean, 1
        while path in used:
            number += 1
            path = f"{clean} ({number})"
        used.add(path)
        yield path


def _clean(name: str) -> str:
    """A safe path, in NFC as ids are. `!/` is removed too: it separates a document's id from its member's path."""
    printable = normalize("NFC", "".join(char for char in name.encode("utf-8", "replace").decode() if char.isprintable()))
    parts = (part.strip() for part in _DRIVE.sub("", printable.replace("\\", "/")).split("/"))
    path = "/".join(part for part in parts if part not in {"", ".", ".."})
    return _BANGS.sub("/", path[-_LONGEST_PATH:]).strip("/")


def _zip_files(archive: zipfile.ZipFile) -> Iterator[_File | None]:
    for member in archive.infolist():
        if not member.is_dir():
            yield _File(member.filename, member.file_size, member.compress_size, partial(_zip_bytes, archive, member))


def _zip_bytes(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> bytes:
    if member.flag_bits & _ENCRYPTED:
        raise ParseError("encrypted-document")
    with archive.open(member) as file:
        return file.read(most)


def _tar_files(archive: tarfile.TarFile) -> Iterator[_File | None]:
    for member in archive:
        if member.isfile():
            yield _File(member.name, member.size, 0, partial(_tar_bytes, archive, member))
        elif not member.isdir():
            yield None


def _tar_bytes(archive: tarfile.TarFile, member: tarfile.TarInfo, most: int) -> bytes:
    file = archive.extractfile(member)
    return file.read(most) if file else b""


def _contents(files: Iterator[_File | None]) -> Content:
    """Every file's bytes or its reason. Raises ParseError with the first file's reason if there are files and none can be read."""
    children: list[Child] = []
    dropped: Counter[str] = Counter()
    budget = MOST_BYTES
    for file in files:
        if file is None or _LEFTOVERS.search(file.name):
            dropped["links-and-devices" if file is None else "leftover-files"] += 1
            continue
        children.append(_child(file, budget))
        budget -= len(children[-1].content)
        if len(children) > MOST_MEMBERS:
            raise ParseError("archive-too-large")
    if children and all(child.reason for child in children):
        raise ParseError(children[0].reason)
    return _with_names(children, dropped)


def _child(file: _File, budget: int) -> Child:
    """The file as a child of at most `budget` bytes."""
    if file.packed and file.size > _RATIO_FROM_BYTES and file.size > MOST_RATIO * file.packed:
        raise ParseError("archive-bomb")
    if file.size > budget:
        raise ParseError("archive-too-large")
    try:
        # the declared size is not trusted: the bytes read count
        content = file.read(budget + 1)
    except ParseError as error:
        return Child(file.name, b"", reason=error.reason)
    except _BROKEN:
        return Child(file.name, b"", reason="corrupt-document")
    if len(content) > budget:
        raise ParseError("archive-too-large")
    return Child(file.name, content, reason="corrupt-document" if file.size and not content else "")


def _with_names(members: list[Child], dropped: Counter[str]) -> Content:
    """The children, and their names as list items, so that search finds an archive by its members' names."""
    children = tuple(structs.replace(child, path=path) for child, path in zip(members, paths(child.path for child in members), strict=True))
    blocks = tuple(Block("list_item", child.path, level=1) for child in children)
    return Content(blocks=blocks, children=children, signals=Signals(dropped=dict(dropped)))


def _decompress(content: bytes) -> bytes:
    """The decompressed content, read no further than the limits on size and ratio."""
    most = min(MOST_BYTES, max(_RATIO_FROM_BYTES, MOST_RATIO * len(content)))
    with _stream(content) as stream:
        unpacked = stream.read(most + 1)
    if len(unpacked) > most:
        raise ParseError("archive-too-large" if most == MOST_BYTES else "archive-bomb")
    return unpacked


def _stream(content: bytes) -> gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile:
    if content.startswith(b"BZh"):
        return bz2.BZ2File(io.BytesIO(content))
    return gzip.GzipFile(fileobj=io.BytesIO(content)) if content.startswith(b"\x1f\x8b") else lzma.LZMAFile(io.BytesIO(content))


def _gzip_name(content: bytes) -> str:
    """The file's name, if it is the only optional field of the header (RFC 1952)."""
    if not content.startswith(b"\x1f\x8b") or content[3] != _GZIP_NAME_ONLY:
        return ""
    return content[_GZIP_HEADER : content.find(b"\0", _GZIP_HEADER)].decode("latin-1")
