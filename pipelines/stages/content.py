"""A document's content, for the parse stage: inline as it landed, or fetched from where the event says that it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from core import frames
from core.config import Fetching
from core.errors import HeadraceError
from core.frames import Result
from core.ledger.ledger import Stale
from core.ledger.stage import Session
from core.records import Envelope
from pipelines.stages import expired
from pipelines.stages.inputs import Failure, envelope, failures, frame, load

FETCHED_BYTES = 64 * 1024 * 1024
"""Bytes of contents by reference that are in memory at a time. One document may be larger; the next batch fetches those that do not fit."""


def fetched(session: Session, rows: Sequence[Stale], fetching: Fetching) -> tuple[pl.DataFrame, list[Result]]:
    """A FETCHED frame of documents' contents, inline or by reference, and the failures of those that are not available."""
    envelopes = {row.document: envelope(session, row) for row in rows}
    contents = load(session, "land", rows)
    unreadable = "its content could not be read from the document that it is inside of"
    refused = {d: (e.refused, unreadable) for d, e in envelopes.items() if e.refused}
    refused |= expired.contents(session, [d for d, e in envelopes.items() if not (e.uri or d in contents or d in refused)])
    contents = {document: content for document, content in contents.items() if document not in refused}
    referenced = {d: e for d, e in envelopes.items() if e.uri and d not in contents and d not in refused}
    arrived, failed = _fetch(referenced, fetching)
    columns: dict[str, Mapping[str, Any]] = {
        "media_type": {d: e.media_type for d, e in envelopes.items()},
        "file_name": {d: e.file_name or e.name for d, e in envelopes.items()},
        "content": contents | arrived,
    }
    return frame(frames.FETCHED, rows, columns), failures(refused | failed)


def _fetch(referenced: Mapping[str, Envelope], fetching: Fetching) -> tuple[dict[str, bytes], dict[str, Failure]]:
    """Contents by document until `FETCHED_BYTES` are in memory, and the failures among them."""
    from events.fetch.content import fetch

    arrived, failed = dict[str, bytes](), dict[str, Failure]()
    for document, found in referenced.items():
        if sum(map(len, arrived.values())) > FETCHED_BYTES:
            break
        try:
            arrived[document] = fetch(found.uri, fetching, found.content_sha256 or None)
        except HeadraceError as error:
            failed[document] = (error.reason, error.detail)
    return arrived, failed
