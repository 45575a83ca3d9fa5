"""The chunk stage over a frame. `chunkers.chunker` splits the documents."""

from __future__ import annotations

from typing import Any

import polars as pl

from chunkers.chunker import Chunker
from core import frames, records
from core.errors import DocumentError


def chunk(frame: pl.DataFrame, chunker: Chunker) -> pl.DataFrame:
    """A `core.frames.REDACTED` frame → a `core.frames.RESULT` frame whose payload is a JSON list of `core.records.Chunk`.

    A document without visible text has an empty list. One with more chunks than its text is allowed (`Chunker.most`) fails:
    `too-many-chunks`.
    """

    def work(row: dict[str, Any]) -> bytes:
        redacted = records.decode(row["redacted"], records.Redacted)
        chunks = chunker.split(redacted.blocks, redacted.format)
        if len(chunks) > (most := chunker.most(redacted.blocks, redacted.format)):
            raise DocumentError(f"{len(chunks):,} chunks, more than {most:,}", reason="too-many-chunks")
        return records.encode(chunks)

    return frames.apply(frame, work)
