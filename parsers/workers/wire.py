"""What the pool and a worker say to each other: messages as msgpack, each behind its length, on a pair of pipes.

A request goes one way; `Detected`, `Loaded`, any number of `PageRead` and `Parsed` come back in this order, or a `Failed` at any point.
"""

from __future__ import annotations

import os
import select
import struct
from time import monotonic

import msgspec

_LENGTH = struct.Struct("<Q")
_PIECE_BYTES = 1 << 20


class Request(msgspec.Struct, frozen=True, tag=True):
    """A document to read."""

    content: bytes
    media_type: str
    file_name: str
    pdf: str = "layout"
    """The grade at which a PDF is read (`core.policy.Reading`)."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The worker has started and is confined."""


class Detected(msgspec.Struct, frozen=True, tag=True):
    """The format is known; its libraries are loaded next, which is not on the document's clock."""


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """The libraries are loaded; reading begins."""


class PageRead(msgspec.Struct, frozen=True, tag=True):
    """A page that takes seconds is read (`parsers.progress`)."""


class Parsed(msgspec.Struct, frozen=True, tag=True):
    """The document's `core.records.Content` as JSON."""

    payload: bytes


class Failed(msgspec.Struct, frozen=True, tag=True):
    """A reason of `parsers.reasons` and the type name of the exception behind it."""

    reason: str
    cause: str = ""


Reply = Ready | Detected | Loaded | PageRead | Parsed | Failed
_requests = msgspec.msgpack.Decoder(Request)
_replies = msgspec.msgpack.Decoder(Reply)


def send(pipe: int, message: Request | Reply, deadline: float | None = None) -> None:
    """Write a message. Raises BrokenPipeError when nobody reads any more, TimeoutError past the `deadline` (monotonic seconds)."""
    body = msgspec.msgpack.encode(message)
    _write(pipe, memoryview(_LENGTH.pack(len(body))), deadline)
    _write(pipe, memoryview(body), deadline)


def receive_request(pipe: int) -> Request | None:
    """The next request, or None when the pool has closed its end."""
    try:
        return _requests.decode(_receive(pipe, None, None))
    except EOFError:
        return None


def receive_reply(pipe: int, limit: int, deadline: float) -> Reply:
    """The next reply. Raises EOFError when the worker is gone, TimeoutError past the deadline, and msgspec.DecodeError or
    ValueError when what came is no reply or longer than `limit` bytes."""
    reply: Reply = _replies.decode(_receive(pipe, limit, deadline))
    return reply


def _receive(pipe: int, limit: int | None, deadline: float | None) -> bytearray:
    (length,) = _LENGTH.unpack(_read(pipe, _LENGTH.size, deadline))
    if limit is not None and length > limit:
        raise ValueError("a message longer than its limit")
    return _read(pipe, length, deadline)


def _read(pipe: int, length: int, deadline: float | None) -> bytearray:
    got = bytearray()
    while len(got) < length:
        _wait(pipe, select.POLLIN, deadline)
        piece = os.read(pipe, min(_PIECE_BYTES, length - len(got)))
        if not piece:
            raise EOFError
        got += piece
    return got


def _write(pipe: int, rest: memoryview, deadline: float | None) -> None:
    while rest:
        _wait(pipe, select.POLLOUT, deadline)
        rest = rest[_write_some(pipe, rest) :]


def _write_some(pipe: int, rest: memoryview) -> int:
    try:
        return os.write(pipe, rest[:_PIECE_BYTES])
    except BlockingIOError:
        return 0


def _wait(pipe: int, event: int, deadline: float | None) -> None:
    poll = select.poll()
    poll.register(pipe, event)
    left_ms = None if deadline is None else max(0.0, deadline - monotonic()) * 1000
    if not poll.poll(left_ms):
        raise TimeoutError
