"""A producer of records with any bytes in every part: librdkafka's own, called in the library that the confluent-kafka wheel contains.

confluent-kafka takes header names as text only; clients in C, Go and Rust write them as bytes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

from confluent_kafka import cimpl

_PRODUCER = 0
_FLUSH_MS = 60_000
_QUIET = {"log_level": 0}  # it would write to standard error
# `rd_kafka_vtype_t`
_TOPIC, _PARTITION, _VALUE, _KEY, _FLAGS, _TIMESTAMP, _HEADERS = 1, 3, 4, 5, 7, 8, 10
_COPY = 2


class _Bytes(ctypes.Structure):
    _fields_ = [("at", ctypes.c_char_p), ("size", ctypes.c_size_t)]


class _Content(ctypes.Union):
    _fields_ = [
        ("text", ctypes.c_char_p),
        ("number", ctypes.c_int),
        ("number32", ctypes.c_int32),
        ("number64", ctypes.c_int64),
        ("bytes", _Bytes),
        ("pointer", ctypes.c_void_p),
        ("whole", ctypes.c_char * 64),
    ]


class _Part(ctypes.Structure):
    """`rd_kafka_vu_t`: one part of a record."""

    _fields_ = [("kind", ctypes.c_int), ("content", _Content)]


def _library() -> ctypes.CDLL:
    # symbols are looked up in the libraries that this one is linked with, too
    library = ctypes.CDLL(cimpl.__file__)
    text, size, pointer, number = ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int
    for name, result, arguments in (
        ("conf_new", pointer, []),
        ("conf_set", number, [pointer, text, text, text, size]),
        ("new", pointer, [number, pointer, text, size]),
        ("destroy", None, [pointer]),
        ("flush", number, [pointer, number]),
        ("headers_new", pointer, [size]),
        ("headers_destroy", None, [pointer]),
        ("header_add", number, [pointer, text, ctypes.c_ssize_t, text, ctypes.c_ssize_t]),
        ("produceva", pointer, [pointer, ctypes.POINTER(_Part), size]),
        ("error_string", text, [pointer]),
        ("error_destroy", None, [pointer]),
    ):
        function = getattr(library, f"rd_kafka_{name}")
        function.restype, function.argtypes = result, arguments
    return library


class RawProducer:
    """Produces records as given. A context manager; on exit, it waits for the broker. Not thread-safe."""

    def __init__(self, properties: Mapping[str, Any]) -> None:
        self._library = _library()
        error = ctypes.create_string_buffer(512)
        configuration = self._library.rd_kafka_conf_new()
        for name, value in {**_QUIET, **properties}.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            if self._library.rd_kafka_conf_set(configuration, name.encode(), text.encode(), error, len(error)):
                raise ValueError(error.value.decode())
        self._producer = self._library.rd_kafka_new(_PRODUCER, configuration, error, len(error))
        if not self._producer:
            raise ValueError(error.value.decode())

    def __enter__(self) -> RawProducer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self.flush()
        finally:
            self._library.rd_kafka_destroy(self._producer)

    def produce(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Iterable[tuple[bytes, bytes | None]] = (),
        *,
        timestamp_ms: int = 0,
        partition: int = -1,
    ) -> None:
        """Queue a record; `timestamp_ms` of 0 is now, a `partition` of -1 the partitioner's. Raises RuntimeError if librdkafka refuses."""
        parts = (
            (_TOPIC, "text", topic.encode()),
            (_PARTITION, "number32", partition),
            (_FLAGS, "number", _COPY),
            (_TIMESTAMP, "number64", timestamp_ms),
            (_KEY, "bytes", _Bytes(key, len(key or b""))),
            (_VALUE, "bytes", _Bytes(value, len(value or b""))),
            (_HEADERS, "pointer", named := self._headers(headers)),
        )
        array = (_Part * len(parts))()
        for part, (kind, name, content) in zip(array, parts, strict=True):
            part.kind = kind
            setattr(part.content, name, content)
        refusal = self._library.rd_kafka_produceva(self._producer, array, len(parts))
        if refusal:
            why = self._library.rd_kafka_error_string(refusal).decode()
            self._library.rd_kafka_error_destroy(refusal)
            self._library.rd_kafka_headers_destroy(named)  # a record that is queued takes them over
            raise RuntimeError(why)

    def flush(self) -> None:
        """Wait until nothing is queued. A record that the broker refuses is not reported: count what arrived."""
        if self._library.rd_kafka_flush(self._producer, _FLUSH_MS):
            raise RuntimeError("Kafka did not take all records within a minute")

    def _headers(self, headers: Iterable[tuple[bytes, bytes | None]]) -> Any:
        list_ = self._library.rd_kafka_headers_new(8)
        for name, value in headers:
            self._library.rd_kafka_header_add(list_, name, len(name), value, len(value or b""))
        return list_
