"""Make generated files reproducible: fixed dates, fixed archive times, and pictures computed from their name."""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from datetime import UTC, datetime
from io import BytesIO

WHEN = datetime(2026, 1, 5, 9, 0, 0, tzinfo=UTC)
_STAMP = re.compile(rb"(<dcterms:(?:created|modified)[^>]*>)[^<]*")


def repacked(archive: bytes) -> bytes:
    """Return the ZIP archive with every member's time, and the dates in its core properties, set to `WHEN`."""
    with zipfile.ZipFile(BytesIO(archive)) as source:
        return packed([(name, source.read(name)) for name in source.namelist()])


def packed(members: list[tuple[str, bytes]]) -> bytes:
    """Return a ZIP archive of (name, content) pairs, in this order. `mimetype` is stored without compression, as EPUB requires."""
    target = BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in members:
            member = zipfile.ZipInfo(name, WHEN.timetuple()[:6])
            member.compress_type = zipfile.ZIP_STORED if name == "mimetype" else zipfile.ZIP_DEFLATED
            archive.writestr(member, _fixed_dates(name, content))
    return target.getvalue()


def _fixed_dates(name: str, content: bytes) -> bytes:
    if name != "docProps/core.xml":
        return content
    return _STAMP.sub(rb"\g<1>" + WHEN.strftime("%Y-%m-%dT%H:%M:%SZ").encode(), content)


def picture(name: str, width: int = 96, height: int = 48) -> bytes:
    """Return a small PNG of vertical bars, in a colour derived from the name."""
    shade = zlib.crc32(name.encode()) % 160
    row = b"\x00" + bytes(value for x in range(width) for value in (shade, 96 + x, 200 if x // 8 % 2 else 120))
    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", size), (b"IDAT", zlib.compress(row * height, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(kind, data) for kind, data in chunks)


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
