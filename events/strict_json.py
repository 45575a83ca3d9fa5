"""A strict JSON format for the `cloudevents` library: it refuses ambiguous JSON.

The library's own format keeps the last of two equal keys, accepts NaN, and returns text where JSON is declared. What an event means is in
`events.contract`.
"""

from __future__ import annotations

import codecs
import json
from datetime import datetime
from typing import Any, NoReturn

from cloudevents.core.base import BaseCloudEvent, EventFactory
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

REPLACING = "headrace.replacing"
"""An encoding error handler: U+FFFD for each lone surrogate, which JSON can escape and UTF-8 cannot hold."""


def _replacement(error: UnicodeError) -> tuple[bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "\ufffd".encode() * (error.end - error.start), error.end


codecs.register_error(REPLACING, _replacement)


class Unchecked(CloudEvent):
    """An event's attributes and data, unchanged.

    The library would fill in a missing id and time; the contract's schema checks them instead.
    """

    def __init__(self, attributes: dict[str, Any], data: dict[str, Any] | str | bytes | None = None) -> None:
        self._attributes = attributes
        self._data = data

    def structured(self) -> dict[str, Any]:
        """The event as one JSON object."""
        return self._attributes if self._data is None else {**self._attributes, "data": self._data}


class StrictJson(JSONFormat):
    """Reads one unambiguous JSON object in UTF-8, and raises ValueError for anything else. Times stay text."""

    def read(self, event_factory: EventFactory | None, data: str | bytes) -> BaseCloudEvent:
        attributes = loads(data)
        # data that is null stays with the attributes: `Unchecked` omits data that is None
        content = attributes.pop("data") if attributes.get("data") is not None else None
        return (event_factory or Unchecked)(attributes, content)

    def read_data(self, body: bytes, datacontenttype: str | None) -> dict[str, Any] | None:  # noqa: ARG002
        return loads(body) if body else None

    def write(self, event: BaseCloudEvent) -> bytes:
        whole = dict(event.get_attributes())
        if event.get_data() is not None:
            whole["data"] = event.get_data()
        # a lone surrogate becomes JSON's escape of it, so that what was given is sent, or refused by the contract, and never replaced here
        return _ENCODER.encode(whole).encode("utf-8", "backslashreplace")


def loads(data: str | bytes) -> dict[str, Any]:
    """One JSON object. Raises ValueError for other values, duplicate keys, NaN, infinities and too deep nesting."""
    text = data.decode("utf-8") if isinstance(data, bytes) else data
    try:
        found = _DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(found, dict):
        raise ValueError("not an object")  # noqa: TRY004 - one error for everything that is refused
    return found


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate key")
    return found


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _timestamp(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"not JSON: {type(value).__name__}")


_DECODER = json.JSONDecoder(object_pairs_hook=_distinct, parse_constant=_refuse_constant)
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_timestamp)
