"""What is decided of a parsed document before it is kept: put aside, nested too deep; and how it is parted from its children."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec
import polars as pl

from core.policy import Reading
from core.records import Child, Content, Signals, decode, encode
from pipelines.stages.inputs import Failure

_WITH_CHILDREN = b'"children":['
"""Inside a JSON text a quotation mark has a backslash before it: nothing but a key reads so."""


def without_children(payload: bytes) -> tuple[bytes, tuple[Child, ...]]:
    """A content as it is kept, and the documents inside of it."""
    if _WITH_CHILDREN not in payload:
        return payload, ()
    content = decode(payload, Content)
    return encode(msgspec.structs.replace(content, children=())), content.children


class Measured(msgspec.Struct):
    """Of a content what holds no text."""

    language: str = ""
    signals: Signals = Signals()


def signals(parsed: pl.DataFrame) -> dict[str, Signals]:
    """By document, how well it could be read."""
    return {d: decode(payload, Measured).signals for d, payload in parsed.select("document", "payload").iter_rows() if payload}


def quarantined(measured: Mapping[str, Signals], reading: Reading, released: Collection[str]) -> dict[str, Failure]:
    """Documents that could be read only badly, by the tenant's thresholds, but for those that somebody let pass."""
    from parsers.signals import quarantine

    judged = ((d, one) for d, one in measured.items() if d not in released)
    return {d: (reason, _told(one)) for d, one in judged if (reason := quarantine(one, reading))}


def _told(measured: Signals) -> str:
    shown = ("characters", "replaced", "wordlike", "pages", "empty_pages", "ocr_confidence")
    return ", ".join(f"{name} {value}" for name in shown if (value := getattr(measured, name)) is not None)


def nested_too_deep(names: Mapping[str, str], parsed: pl.DataFrame) -> dict[str, Failure]:
    """Documents with children that would be a level too deep. `names` are the documents' ids, by key."""
    from events.children import DEEPEST, depth

    holding = {d for d, payload in parsed.select("document", "payload").iter_rows() if payload and _WITH_CHILDREN in payload}
    reason = "nested-too-deep"
    deep = [document for document in sorted(holding) if depth(names[document]) >= DEEPEST]
    return dict.fromkeys(deep, (reason, f"documents inside documents are read {DEEPEST} levels deep"))
