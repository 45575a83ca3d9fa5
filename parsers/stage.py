"""The parse stage: FETCHED frames in, RESULT frames out (`core.frames`), and its fingerprint."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import polars as pl

from core.config import Parsing
from core.frames import RESULT, apply
from core.policy import Reading
from parsers.docling.weights import identity, release
from parsers.workers.pool import DEFAULTS, WorkerPool

# increment whenever the same bytes yield different blocks
CODE_VERSION = 7
_LIBRARIES = (
    *("docling-slim", "docling-core", "docling-parse", "docutils", "marko", "lxml", "pypdfium2"),
    *("charset-normalizer", "olefile", "python-calamine", "py3langid"),
    # text recognition, if installed
    *("rapidocr", "openvino", "pillow", "opencv-python-headless"),
)


def parse(frame: pl.DataFrame, pool: WorkerPool, reading: Reading = DEFAULTS) -> pl.DataFrame:
    """Parse every row's content: a RESULT frame in the same order, the payload a `core.records.Content`.

    Rows are parsed concurrently, one per process of the pool. A row that fails carries a reason of `parsers.REASONS`. Raises
    Unavailable if the pool is closed.
    """

    def work(row: dict[str, Any]) -> bytes:
        return pool.parse(row["content"], row["media_type"] or "", row["file_name"] or "", reading)

    with ThreadPoolExecutor(pool.parsing.workers, thread_name_prefix="parse") as threads:
        results = list(threads.map(lambda row: apply(row, work), frame.iter_slices(1)))
    return pl.concat([pl.DataFrame(schema=dict(RESULT)), *results])


def fingerprint(reading: Reading = DEFAULTS, parsing: Parsing | None = None) -> str:
    """32 hex characters that change when the same bytes may yield different blocks.

    Inputs: the code's version, the libraries' versions, `reading`, and for `reading.pdf = model` docling's models in `parsing.models`.
    Limits on time and memory are excluded: they decide whether a document is parsed, not what it yields. Raises ConfigurationError if
    the models are required and missing.
    """
    return _fingerprint(reading, identity((parsing or Parsing()).models) if reading.pdf == "model" else "")


@cache
def _fingerprint(reading: Reading, models: str) -> str:
    options = (reading.model_dump_json(), *([models] if models else []))
    parts = ("parsers", str(CODE_VERSION), *(f"{name}={release(name)}" for name in _LIBRARIES), *options)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
