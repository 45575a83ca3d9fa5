"""Bytes → document blocks: FETCHED frames in, RESULT frames out, the payload a `core.records.Content`.

What belongs here: telling a document's format, reading each format, and the confined worker processes that do the reading.
What does not: fetching content, redaction, chunking, and any knowledge of tenants.

Importing this package loads nothing: the worker process (`parsers.workers.worker`) is part of it and starts in milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parsers.detection import detect
    from parsers.formats import Format
    from parsers.reasons import REASONS
    from parsers.stage import fingerprint, parse
    from parsers.workers.pool import WorkerPool

__all__ = ["REASONS", "Format", "WorkerPool", "detect", "fingerprint", "parse"]

_HOME = {
    "REASONS": "parsers.reasons",
    "Format": "parsers.formats",
    "WorkerPool": "parsers.workers.pool",
    "detect": "parsers.detection",
    "fingerprint": "parsers.stage",
    "parse": "parsers.stage",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'parsers' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
