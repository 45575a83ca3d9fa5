"""The chunk stage over a frame. `chunkers.chunker` splits the documents."""

from __future__ import annotations

from typing import Any

import polars as pl

from chunkers.chunker import Chunker
from core import frames, records


def chunk(frame: pl.DataFrame, chunker: Chunker) -> pl.DataFrame:
    """A `core.frames.REDACTED` frame → a `core.frames.RESULT` frame whose payload is a JSON list of `core.records.Chunk`.

    A document without visible text has an empty list.
    """

    def work(row: dict[str, Any]) -> bytes:
        redacted = records.decode(row["redacted"], records.Redacted)
        return records.encode(chunker.split(redacted.blocks, redacted.format))

    return frames.apply(frame, work)
