"""The errors and the size limit that all schemes share. A message names the scheme and the reason, never the uri: it may be personal."""

from __future__ import annotations

from collections.abc import Iterable

from core.errors import DocumentError, Unavailable

NOT_ALLOWED = "uri-not-allowed"
TOO_LARGE = "fetch-too-large"
TIMEOUT = "fetch-timeout"
NOT_FOUND = "fetch-not-found"
REFUSED = "fetch-refused"
EXTRA_MISSING = "fetch-extra-missing"
HASH_MISMATCH = "content-hash-mismatch"


def not_allowed(scheme: str, why: str) -> DocumentError:
    return DocumentError(f"{scheme}: {why}", reason=NOT_ALLOWED, remedy="The configuration's [fetching] lists what is allowed.")


def too_large(scheme: str, max_bytes: int) -> DocumentError:
    return DocumentError(f"{scheme}: more than {max_bytes:,} bytes", reason=TOO_LARGE)


def timed_out(scheme: str, timeout_s: float) -> DocumentError:
    return DocumentError(f"{scheme}: not done within {timeout_s:g} s", reason=TIMEOUT)


def not_found(scheme: str) -> DocumentError:
    return DocumentError(f"{scheme}: there is nothing at this uri", reason=NOT_FOUND)


def refused(scheme: str, why: str) -> DocumentError:
    return DocumentError(f"{scheme}: {why}", reason=REFUSED)


def unavailable(scheme: str, why: str) -> Unavailable:
    return Unavailable(f"{scheme}: {why}")


def joined(scheme: str, pieces: Iterable[bytes], max_bytes: int) -> bytes:
    """The pieces joined. Raises DocumentError `fetch-too-large` as soon as they exceed `max_bytes`."""
    content = bytearray()
    for piece in pieces:
        content += piece
        if len(content) > max_bytes:
            raise too_large(scheme, max_bytes)
    return bytes(content)
