"""Bytes → text: encoding detection and decoding. Knows no document format."""

from __future__ import annotations

import codecs
import re

from parsers.language import identify
from parsers.reasons import ParseError

# UTF-32 first: its little-endian byte order mark begins with UTF-16's
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# encodings in which text without a byte order mark still occurs: browsers' legacy encodings (WHATWG Encoding Standard), and DOS's. With
# every known encoding as a candidate, short texts are taken for Urdu of the eighties
_LEGACY = (
    *("cp1252", "iso8859_2", "cp1250", "cp1251", "koi8_r", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp874"),
    *("cp932", "euc_jp", "iso2022_jp", "gb18030", "big5", "cp949", "cp866", "cp850", "mac_roman"),
)
_MAINFRAME = ("cp037", "cp273", "cp500", "cp1140")
_SHORT_SAMPLE_BYTES = 4096
_SAMPLE_BYTES = 64 * 1024
# characters that no text contains; tab, line feed, form feed and carriage return are kept
_CONTROLS = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def decode(content: bytes, declared: str | None = None) -> str:
    """The text of `content`, line ends as `\\n`, without control characters.

    Tried in order: a byte order mark, UTF-8, the `declared` encoding, statistics. Raises ParseError: `corrupt-document` if the bytes
    are invalid in the encoding of their byte order mark, `unsupported-media-type` if they are not text.
    """
    text = _by_mark(content) or _without_mark(content, declared)
    return _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def is_controls(content: bytes) -> bool:
    """Whether there are control characters, and beside them only white space: such content is not text, and not blank either."""
    text = _by_mark(content) or _without_mark(content, None)
    return bool(_CONTROLS.search(text.replace("\v", ""))) and not _CONTROLS.sub("", text).strip()


def opening(content: bytes, size: int) -> str:
    """The text of the first `size` bytes, for detecting markup: a truncated character is dropped, an unknown encoding read as Latin-1."""
    head = content[:size]
    encoding = next((encoding for mark, encoding in _MARKS if head.startswith(mark)), None) or _utf_16(head) or "utf-8"
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        text = head.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def is_binary(content: bytes) -> bool:
    """Whether the bytes contain NULs that neither UTF-16 nor UTF-32 explains."""
    head = content[:_SAMPLE_BYTES]
    return b"\0" in head and not head.startswith(tuple(mark for mark, _ in _MARKS)) and _utf_16(head) is None


def _by_mark(content: bytes) -> str | None:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            try:
                return content.decode(encoding)
            except UnicodeDecodeError as error:
                raise ParseError("corrupt-document", type(error).__name__) from None
    return None


def _without_mark(content: bytes, declared: str | None) -> str:
    if utf_16 := _utf_16(content[:_SAMPLE_BYTES]):
        return content.decode(utf_16, errors="replace")
    # Japanese mail: escape sequences and ASCII, which would decode as UTF-8
    escaped = "iso2022_jp" if b"\x1b$" in content[:_SAMPLE_BYTES] else None
    for encoding in (escaped, "utf-8", declared):
        if (text := _decode_strictly(content, encoding)) is not None:
            return text
    return _by_statistics(content)


def _decode_strictly(content: bytes, encoding: str | None) -> str | None:
    try:
        return content.decode(encoding) if encoding else None
    except (UnicodeError, LookupError, ValueError):
        return None


def _by_statistics(content: bytes) -> str:
    from charset_normalizer import from_bytes

    if is_binary(content):
        raise ParseError("unsupported-media-type")
    sample = content[:_SAMPLE_BYTES]
    # EBCDIC encodes the space as 0x40
    likely = _MAINFRAME if b"@" in sample and b" " not in sample else _LEGACY
    possible = [match.encoding for match in from_bytes(sample, cp_isolation=list(likely))]
    best = max(possible, key=lambda encoding: _score(sample, encoding), default="cp1252")
    return content.decode(best, errors="replace")


def _score(sample: bytes, encoding: str) -> float:
    """The confidence that the decoded text is of some language, less its share of non-letters: text in a wrong encoding is full of them."""
    text = sample[:_SHORT_SAMPLE_BYTES].decode(encoding, errors="replace")
    signs = sum(not char.isascii() and not char.isalpha() for char in text)
    return identify(text)[1] - signs / len(text)


def _utf_16(head: bytes) -> str | None:
    """UTF-16 without a byte order mark: mostly ASCII, so that every second byte is NUL."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    half = max(1, len(head) // 2)
    if len(head) >= 4 and odd / half > 0.7 and even / half < 0.05:
        return "utf-16-le"
    if len(head) >= 4 and even / half > 0.7 and odd / half < 0.05:
        return "utf-16-be"
    return None
