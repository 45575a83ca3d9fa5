"""A document's content, for the parse stage: inline as it landed, or fetched from where the event says that it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from core import frames
from core.config import Fetching
from core.errors import HeadraceError
from core.ledger.ledger import Stale
from core.ledger.stage import Session
from pipelines.stages import expired
from pipelines.stages.acceptance import Failure
from pipelines.stages.inputs import envelope, failures, frame, load

FETCHED_BYTES = 64 * 1024 * 1024
"""Of contents by reference, what is taken into memory at a time. One document may be more; those that do not fit have the next batch."""


def fetched(session: Session, rows: Sequence[Stale], fetching: Fetching) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The contents of documents, inline or by reference, and a RESULT row for each that could not be had."""
    from events.fetch.content import fetch

    envelopes = {row.document: envelope(session, row) for row in rows}
    contents = load(session, "land", rows)
    refused: dict[str, Failure] = {
        document: (told.refused, "so it stood in the document that it is inside of") for document, told in envelopes.items() if told.refused
    }
    refused |= expired.contents(session, [d for d, e in envelopes.items() if not (e.uri or d in contents or d in refused)])
    taken = 0
    contents = {document: content for document, content in contents.items() if document not in refused}
    for document in [d for d, told in envelopes.items() if told.uri and d not in contents and d not in refused]:
        try:
            contents[document] = fetch(envelopes[document].uri, fetching, envelopes[document].content_sha256 or None)
        except HeadraceError as error:
            refused[document] = (error.reason, error.detail)
        taken += len(contents.get(document, b""))
        if taken > FETCHED_BYTES:
            break
    columns: dict[str, Mapping[str, Any]] = {
        "media_type": {d: e.media_type for d, e in envelopes.items()},
        "file_name": {d: e.file_name or e.name for d, e in envelopes.items()},
        "content": contents,
    }
    return frame(frames.FETCHED, rows, columns), failures(rows, refused)
