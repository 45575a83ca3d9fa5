"""The columns of the frames that stage folders take and return, and the one loop that runs a function over a frame's rows.

Every frame has `document` (the document's key: 32 hex characters, keyed per tenant, so it reveals nothing) and `input_key`
(what the result is computed from, returned unchanged). Every result has `payload` (the record as JSON; null if the row failed),
`reason` and `detail` (null if it did not). A failing row never raises: its error stands beside the successes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import polars as pl

from core.errors import HeadraceError, Unavailable

KEYS: Mapping[str, Any] = {"document": pl.String, "input_key": pl.String}

# into parsers: the raw content, in clear, in memory only
FETCHED: Mapping[str, Any] = {**KEYS, "media_type": pl.String, "file_name": pl.String, "content": pl.Binary}
# into privacy: `core.records.Envelope` and `core.records.Content`
PARSED: Mapping[str, Any] = {**KEYS, "envelope": pl.Binary, "content": pl.Binary}
# into chunkers: `core.records.Redacted`
REDACTED: Mapping[str, Any] = {**KEYS, "redacted": pl.Binary}
# into graph: `core.records.Redacted` and a JSON list of `core.records.Chunk`
CHUNKED: Mapping[str, Any] = {**KEYS, "redacted": pl.Binary, "chunks": pl.Binary}

# out of every stage: payload is Content, Redacted, list[Chunk], Contribution … as JSON
RESULT: Mapping[str, Any] = {**KEYS, "payload": pl.Binary, "reason": pl.String, "detail": pl.String, "seconds": pl.Float64}

# into embedders, one row per distinct text; out of it, `embedding` is (dim,) float32 of unit length
TEXTS: Mapping[str, Any] = {"text_hash": pl.String, "text": pl.String}


def apply(frame: pl.DataFrame, work: Callable[[dict[str, Any]], bytes]) -> pl.DataFrame:
    """Run `work` (a row → its payload) over every row. Returns a RESULT frame in the same order.

    A `HeadraceError` becomes the row's `reason` and `detail`; `Unavailable` is raised, because it is about a server and not about a row.
    Anything else is a bug and is raised too.
    """
    return pl.DataFrame([_outcome(row, work) for row in frame.iter_rows(named=True)], schema=dict(RESULT))


def _outcome(row: dict[str, Any], work: Callable[[dict[str, Any]], bytes]) -> dict[str, Any]:
    started = perf_counter()
    outcome: dict[str, Any] = {"document": row["document"], "input_key": row["input_key"]}
    try:
        outcome["payload"] = work(row)
    except Unavailable:
        raise
    except HeadraceError as error:
        outcome |= {"reason": error.reason, "detail": error.detail}
    return outcome | {"seconds": perf_counter() - started}


@dataclass(frozen=True)
class Result:
    """A document's result from a stage: its payload, or the `reason` and `detail` of its failure. `seconds` it took."""

    document: str
    payload: bytes | None = None
    reason: str | None = None
    detail: str | None = None
    seconds: float | None = None


def results(frame: pl.DataFrame) -> list[Result]:
    """The rows of a RESULT frame, in order."""
    columns = frame.select("document", "payload", "reason", "detail", "seconds")
    return [Result(*row) for row in columns.iter_rows()]
