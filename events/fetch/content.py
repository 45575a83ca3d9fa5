"""Fetching the content of an event's uri, within the operator's allow-lists and limits.

A publisher writes the uri, so it is treated as an attacker's. Each scheme is in a module of its own: `events.fetch.file`,
`events.fetch.http`, `events.fetch.objects`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from urllib.parse import SplitResult, urlsplit

from core.config import Fetching
from core.errors import DocumentError
from events.fetch.file import fetch_file
from events.fetch.http import fetch_http
from events.fetch.limits import HASH_MISMATCH, not_allowed
from events.fetch.objects import fetch_object

# the characters that RFC 3986 allows in a URI; on others, parsers disagree
_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")

_FETCHERS: dict[str, Callable[[SplitResult, Fetching], bytes]] = {
    "file": fetch_file,
    "http": fetch_http,
    "https": fetch_http,
    "s3": fetch_object,
    "gs": fetch_object,
    "az": fetch_object,
}


def fetch(uri: str, fetching: Fetching, sha256: str | None) -> bytes:
    """The bytes at `uri`, at most `fetching.max_bytes` of them within `fetching.timeout_s`.

    `sha256`: their expected SHA-256 in hexadecimal, or None. Raises DocumentError: `uri-not-allowed`, `fetch-not-found`,
    `fetch-refused`, `fetch-too-large`, `fetch-timeout`, `fetch-extra-missing`, `content-hash-mismatch`; and Unavailable if the host is
    down.
    """
    parts = _split(uri)
    content = _FETCHERS[parts.scheme](parts, fetching)
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256.lower():
        raise DocumentError(f"{parts.scheme}: the content has another SHA-256 than the event says", reason=HASH_MISMATCH)
    return content


def _split(uri: str) -> SplitResult:
    try:
        parts = urlsplit(uri if _CHARACTERS.fullmatch(uri) else "")
    except ValueError:
        raise not_allowed("uri", "it is malformed") from None
    if parts.scheme not in _FETCHERS:
        raise not_allowed("uri", f"its scheme is none of {', '.join(_FETCHERS)}")
    if "@" in parts.netloc:
        raise not_allowed(parts.scheme, "it carries credentials")
    return parts
