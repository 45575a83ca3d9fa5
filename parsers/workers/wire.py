"""The protocol between the pool and a worker: length-prefixed msgpack messages on a pair of pipes.

A worker sends `Ready` once. For each `Request` it replies `Detected`, `Loaded`, any number of `PageRead`, and `Parsed`, in this order;
`Failed` may replace any of them and ends the exchange.
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
    """A document to parse."""

    content: bytes
    media_type: str
    file_name: str
    pdf: str = "layout"
    """The grade at which to read a PDF (`core.policy.Reading`)."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The worker has started and is confined."""


class Detected(msgspec.Struct, frozen=True, tag=True):
    """The format is known. Loading its libraries comes next and does not count towards the document's timeout."""


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """The libraries are loaded; reading starts."""


class PageRead(msgspec.Struct, frozen=True, tag=True):
    """A slow page has been read (`parsers.progress`)."""


class Parsed(msgspec.Struct, frozen=True, tag=True):
    """The document's `core.records.Content` as JSON."""

    payload: bytes


class Failed(msgspec.Struct, frozen=True, tag=True):
    """A reason of `parsers.reasons`, and the type name of the exception that caused it."""

    reason: str
    cause: str = ""


Reply = Ready | Detected | Loaded | PageRead | Parsed | Failed
_requests = msgspec.msgpack.Decoder(Request)
_replies = msgspec.msgpack.Decoder(Reply)


def send(pipe: int, message: Request | Reply, deadline: float | None = None) -> None:
    """Write a message. Raises BrokenPipeError if the other end is closed, TimeoutError past the `deadline` (monotonic seconds)."""
    body = msgspec.msgpack.encode(message)
    _write(pipe, memoryview(_LENGTH.pack(len(body))), deadline)
    _write(pipe, memoryview(body), deadline)


def receive_request(pipe: int) -> Request | None:
    """The next request, or None if the pool has closed its end."""
    try:
        return _requests.decode(_receive(pipe, None, None))
    except EOFError:
        return None


def receive_reply(pipe: int, limit: int, deadline: float) -> Reply:
    """The next reply.

    Raises EOFError if the worker has ended, TimeoutError past the deadline, and msgspec.DecodeError or ValueError if the message is not
    a reply or is longer than `limit` bytes.
    """
    reply: Reply = _replies.decode(_receive(pipe, limit, deadline))
    return reply


def _receive(pipe: int, limit: int | None, deadline: float | None) -> bytearray:
    (length,) = _LENGTH.unpack(_read(pipe, _LENGTH.size, deadline))
    if limit is not None and length > limit:
        raise ValueError("a message longer than its limit")
    return _read(pipe, length, deadline)


def _read(pipe: int, length: int, deadline: float | None) -> bytearray:
    received = bytearray()
    while len(received) < length:
        _wait(pipe, select.POLLIN, deadline)
        piece = os.read(pipe, min(_PIECE_BYTES, length - len(received)))
        if not piece:
            raise EOFError
        received += piece
    return received


def _write(pipe: int, data: memoryview, deadline: float | None) -> None:
    while data:
        _wait(pipe, select.POLLOUT, deadline)
        data = data[_write_some(pipe, data) :]


def _write_some(pipe: int, data: memoryview) -> int:
    """The number of bytes written; 0 if the pipe is full."""
    try:
        return os.write(pipe, data[:_PIECE_BYTES])
    except BlockingIOError:
        return 0


def _wait(pipe: int, event: int, deadline: float | None) -> None:
    poll = select.poll()
    poll.register(pipe, event)
    timeout_ms = None if deadline is None else max(0.0, deadline - monotonic()) * 1000
    if not poll.poll(timeout_ms):
        raise TimeoutError
