"""Containers → their members as children: ZIP, TAR, and one file in gzip, bzip2 or xz. Nothing is unpacked to disk.

One level only, bounded in number, size and ratio; a member that is an archive is opened when its turn as a document comes. A member that
is encrypted or broken is a child with a reason, and no other fails for it. What a member is called is its place, never a path to write to.
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

from msgspec import structs

from core.records import Block, Child, Content, Signals
from parsers.reasons import ParseError

MOST_MEMBERS = 2000
MOST_BYTES = 256 << 20
# deflate reaches 1032, text that people write 3 to 30; small members may be anything
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
# what file managers leave behind
_LEFTOVERS = re.compile(r"(?:^|/)(?:__MACOSX(?:/|$)|\.DS_Store$|Thumbs\.db$|desktop\.ini$|\._[^/]*$)")
_LONGEST_PATH = 500
_BANGS = re.compile(r"!+/")
_DRIVE = re.compile(r"^[A-Za-z]:")
_GZIP_HEADER, _GZIP_NAME_ALONE = 10, 8
_ENCRYPTED = 1


class _File(NamedTuple):
    """A file of an archive, `size` bytes as it says; `packed` where it says how many they take, else 0."""

    name: str
    size: int
    packed: int
    read: Callable[[int], bytes]


def zipped(content: bytes) -> Content:
    """A ZIP's files. Raises `archive-too-large`, `archive-bomb`, `corrupt-document`, or `encrypted-document` where all members are."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _contained(_zip_files(archive))
    except _BROKEN as error:
        raise ParseError("corrupt-document", type(error).__name__) from None


def tarred(content: bytes) -> Content:
    """A TAR's files; links and devices are counted and left out. Raises as `zipped` does."""
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            return _contained(_tar_files(archive))
    except _BROKEN as error:
        raise ParseError("corrupt-document", type(error).__name__) from None


def compressed(content: bytes) -> Content:
    """The members of a compressed TAR, or the one file that was compressed. Raises as `zipped` does."""
    try:
        unpacked = _unpacked(content)
    except _BROKEN as error:
        raise ParseError("corrupt-document", type(error).__name__) from None
    if is_tar(unpacked):
        return tarred(unpacked)
    if not unpacked:
        raise ParseError("empty-document")
    return _listed([Child(_gzip_name(content) or "content", unpacked)], Counter())


def is_tar(content: bytes) -> bool:
    """Whether it begins as POSIX and GNU archives do."""
    return content[257:262] == b"ustar"


def paths(names: Iterable[str]) -> Iterator[str]:
    """Names as places within a document: no drive, no root, no way up, and each different from those before."""
    taken: set[str] = set()
    for name in names:
        clean = _clean(name) or "unnamed"
        path, number = clean, 1
        while path in taken:
            number += 1
            path = f"{clean} ({number})"
        taken.add(path)
        yield path


def _clean(name: str) -> str:
    """`!/` stands between a document's id and its member's path: no folder's name may end like that."""
    printable = "".join(char for char in name.encode("utf-8", "replace").decode() if char.isprintable())
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


def _contained(files: Iterator[_File | None]) -> Content:
    """Every file's bytes, or why there are none; where there are of no file, the first one's reason is the archive's."""
    found: list[Child] = []
    dropped: Counter[str] = Counter()
    left = MOST_BYTES
    for file in files:
        if file is None or not file.size or _LEFTOVERS.search(file.name):
            dropped["links-and-devices" if file is None else "empty-and-leftover-files"] += 1
            continue
        found.append(_child(file, left))
        left -= len(found[-1].content)
        if len(found) > MOST_MEMBERS:
            raise ParseError("archive-too-large")
    if not any(child.content for child in found):
        raise ParseError(found[0].reason if found else "empty-document")
    return _listed(found, dropped)


def _child(file: _File, left: int) -> Child:
    if file.packed and file.size > _RATIO_FROM_BYTES and file.size > MOST_RATIO * file.packed:
        raise ParseError("archive-bomb")
    if file.size > left:
        raise ParseError("archive-too-large")
    try:
        # not what it says but what it unpacks to is what counts
        content = file.read(left + 1)
    except ParseError as error:
        return Child(file.name, b"", reason=error.reason)
    except _BROKEN:
        return Child(file.name, b"", reason="corrupt-document")
    if len(content) > left:
        raise ParseError("archive-too-large")
    return Child(file.name, content, reason="" if content else "empty-document")


def _listed(found: list[Child], dropped: Counter[str]) -> Content:
    """The children, and their names as a list, so that an archive is found by what it holds."""
    children = tuple(structs.replace(child, path=path) for child, path in zip(found, paths(child.path for child in found), strict=True))
    blocks = tuple(Block("list_item", child.path, level=1) for child in children)
    return Content(blocks=blocks, children=children, signals=Signals(dropped=dict(dropped)))


def _unpacked(content: bytes) -> bytes:
    """All of it, read no further than may be."""
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
    """The file's name, where the header (RFC 1952) holds it and nothing before it."""
    if not content.startswith(b"\x1f\x8b") or content[3] != _GZIP_NAME_ALONE:
        return ""
    return content[_GZIP_HEADER : content.find(b"\0", _GZIP_HEADER)].decode("latin-1")
