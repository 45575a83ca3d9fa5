"""Bytes → document blocks: FETCHED frames in, RESULT frames out, the payload a `core.records.Content`.

What belongs here: format detection, the reader of each format, and the confined worker processes that run the readers.
What does not: fetching content, redaction, chunking, and any knowledge of tenants.

    stage       the parse stage and its fingerprint
    detection   which format a document has; `formats` lists the formats and the names that declare them
    reading     the reader of each format
    decoding    bytes → text; `language` identifies the language of a text
    properties  a file's own metadata
    signals     how well a document was read, and whether to quarantine it
    reasons     reason codes, and the exceptions that they stand for
    progress    reports of slow pages to the worker
    workers/    the pool of confined processes
    pdf/        PDFs and pictures
    docling/    formats read by docling
    text/       plain text, reStructuredText, data
    legacy/     the binary Office formats
    containers/ archives and messages

A document's path: `stage.parse`, `workers.pool`; in the worker `detection.detect`, `reading.reader`, `signals.measure`.

Importing this package imports none of its modules: the worker process (`parsers.workers.worker`) lives in it and starts in milliseconds.
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

_MODULES = {
    "REASONS": "parsers.reasons",
    "Format": "parsers.formats",
    "WorkerPool": "parsers.workers.pool",
    "detect": "parsers.detection",
    "fingerprint": "parsers.stage",
    "parse": "parsers.stage",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'parsers' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
