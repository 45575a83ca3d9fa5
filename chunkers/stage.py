"""The chunk stage over a frame. `chunkers.chunker` splits the documents."""

from __future__ import annotations

from typing import Any

import polars as pl

from chunkers.chunker import Chunker
from core import frames, records
from core.errors import DocumentError

MOST_CHUNKS = 20_000
"""Of a document: about 20 MB of text. Each costs several KB in the index, however short it is."""


def chunk(frame: pl.DataFrame, chunker: Chunker) -> pl.DataFrame:
    """A `core.frames.REDACTED` frame → a `core.frames.RESULT` frame whose payload is a JSON list of `core.records.Chunk`.

    A document without visible text has an empty list. One with more than `MOST_CHUNKS` fails: `too-many-chunks`.
    """

    def work(row: dict[str, Any]) -> bytes:
        redacted = records.decode(row["redacted"], records.Redacted)
        chunks = chunker.split(redacted.blocks, redacted.format)
        if len(chunks) > MOST_CHUNKS:
            raise DocumentError(f"{len(chunks):,} chunks, more than {MOST_CHUNKS:,}", reason="too-many-chunks")
        return records.encode(chunks)

    return frames.apply(frame, work)
