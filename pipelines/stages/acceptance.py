"""Whether a parsed document is accepted: quarantined, nested too deep; and how it is separated from its children."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec
import polars as pl

from core.policy import Reading
from core.records import Child, Content, Signals, decode, encode
from pipelines.stages.inputs import Failure

_WITH_CHILDREN = b'"children":['
"""Only a key can look like this: inside a JSON string a quotation mark has a backslash before it."""


def without_children(payload: bytes) -> tuple[bytes, tuple[Child, ...]]:
    """The content as it is stored, and the documents inside it."""
    if _WITH_CHILDREN not in payload:
        return payload, ()
    content = decode(payload, Content)
    return encode(msgspec.structs.replace(content, children=())), content.children


class Measured(msgspec.Struct):
    """The part of a `core.records.Content` that holds no text."""

    language: str = ""
    signals: Signals = Signals()


def signals(parsed: pl.DataFrame) -> dict[str, Signals]:
    """The signals of each parsed document."""
    return {d: decode(payload, Measured).signals for d, payload in parsed.select("document", "payload").iter_rows() if payload}


def quarantined(measured: Mapping[str, Signals], reading: Reading, released: Collection[str]) -> dict[str, Failure]:
    """Documents that are beyond the tenant's thresholds, except released ones."""
    from parsers.signals import quarantine

    judged = ((d, one) for d, one in measured.items() if d not in released)
    return {d: (reason, _summary(one)) for d, one in judged if (reason := quarantine(one, reading))}


def _summary(measured: Signals) -> str:
    shown = ("characters", "replaced", "wordlike", "pages", "empty_pages", "ocr_confidence")
    return ", ".join(f"{name} {value}" for name in shown if (value := getattr(measured, name)) is not None)


def nested_too_deep(names: Mapping[str, str], parsed: pl.DataFrame) -> dict[str, Failure]:
    """Documents whose children would be a level too deep. `names`: the documents' ids, by key."""
    from events.children import DEEPEST, depth

    parents = {d for d, payload in parsed.select("document", "payload").iter_rows() if payload and _WITH_CHILDREN in payload}
    reason = "nested-too-deep"
    deep = [document for document in sorted(parents) if depth(names[document]) >= DEEPEST]
    return dict.fromkeys(deep, (reason, f"documents inside documents are read {DEEPEST} levels deep"))
