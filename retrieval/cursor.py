"""Cursors: where an answer ended, so that the next one goes on from there.

A cursor says a place in a ranking, and has a digest over that place, the tenant, the generation and everything that decides the ranking. It
is no secret and gives no right: what may be read is asked anew for each page, and who computes a digest of their own reaches another place
in their own ranking.
"""

from __future__ import annotations

import base64
import binascii
from hashlib import blake2b

import msgspec

from core.errors import HeadraceError
from retrieval.request import SearchRequest

_DIGEST = 16
LONGEST = 400
"""In characters."""


class Position(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """After so many passages, the last of which had this score and chunk."""

    passages: int
    score: float
    chunk: str

    @property
    def place(self) -> tuple[float, str]:
        return -self.score, self.chunk


def write(tenant: str, generation: int, request: SearchRequest, position: Position) -> str:
    """The cursor, in URL-safe characters."""
    payload = msgspec.msgpack.encode(position)
    return _text(_digest(tenant, generation, request, payload) + payload)


def read(tenant: str, generation: int, request: SearchRequest) -> Position | None:
    """The position of the request's cursor; None if it has none.

    Raises HeadraceError (`bad-cursor`) for one that is no cursor, or that another request, tenant or generation gave.
    """
    if not request.cursor:
        return None
    raw = _bytes(request.cursor)
    digest, payload = raw[:_DIGEST], raw[_DIGEST:]
    if digest != _digest(tenant, generation, request, payload):
        raise _refused("the cursor belongs to another request, or to an index that was replaced meanwhile")
    try:
        return msgspec.msgpack.decode(payload, type=Position)
    except msgspec.MsgspecError:
        raise _refused("this is no cursor") from None


def _bytes(cursor: str) -> bytes:
    if len(cursor) > LONGEST or not cursor.isascii():
        raise _refused("this is no cursor")
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _refused("this is no cursor") from None
    # the last character has bits that say nothing
    if _text(raw) != cursor:
        raise _refused("this is no cursor")
    return raw


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _digest(tenant: str, generation: int, request: SearchRequest, payload: bytes) -> bytes:
    """`top` is not in it: pages may differ in size. Nor is what changes no place: `expand`, `explain`."""
    ranking = (request.query, request.readers, request.mode, request.filters, request.fusion, request.weight, request.least)
    return blake2b(msgspec.msgpack.encode((tenant, generation, *ranking, payload), order="deterministic"), digest_size=_DIGEST).digest()


def _refused(detail: str) -> HeadraceError:
    return HeadraceError(detail, reason="bad-cursor", remedy="Ask again from the beginning.")
