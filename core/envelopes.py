"""Envelopes at rest: sealed under the tenant's key, each bound to its document so that it opens nowhere else."""

from __future__ import annotations

from core.keys import TenantKeys
from core.records import Envelope, decode, encode


def seal(keys: TenantKeys, envelope: Envelope, document: str) -> bytes:
    """The envelope as `document.envelope` holds it."""
    return keys.seal(encode(envelope), _context(document))


def unseal(keys: TenantKeys, sealed: bytes, document: str) -> Envelope:
    """Raises HeadraceError (`cannot-decrypt`) where the seal does not open for this document."""
    return decode(keys.open(sealed, _context(document)), Envelope)


def _context(document: str) -> str:
    return f"envelope/{document}"
