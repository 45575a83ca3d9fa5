"""Envelopes at rest: sealed under the tenant's key, each bound to its document so that it opens nowhere else; and their digests."""

from __future__ import annotations

from core.keys import TenantKeys
from core.records import Envelope, decode, encode


def seal(keys: TenantKeys, envelope: Envelope, document: str) -> bytes:
    """The value of `document.envelope`."""
    return keys.seal(encode(envelope), _context(document))


def unseal(keys: TenantKeys, sealed: bytes, document: str) -> Envelope:
    """Raises HeadraceError (`cannot-decrypt`) if the seal does not open for this document."""
    return decode(keys.open(sealed, _context(document)), Envelope)


def digest(keys: TenantKeys, encoded: bytes) -> str:
    """The name of an envelope, `document.envelope_key`: equal envelopes have equal names. `encoded` is `core.records.encode`'s."""
    return keys.digest(encoded, "envelope")


def _context(document: str) -> str:
    return f"envelope/{document}"
