"""What the server answers with: callables, so that it can be tried without a pipeline and wired without knowing one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from retrieval.answer import Answer
from retrieval.documents import DocumentText, Origin, Related
from retrieval.request import SearchRequest
from retrieval.server.caller import Caller


class Progress(msgspec.Struct, frozen=True):
    """A stage of a document's newest version: `status` as the ledger has it."""

    stage: str
    status: str
    updated_at: datetime


class Explained(msgspec.Struct, frozen=True):
    """Where a document comes from, and how far its newest version is.

    `verdict`: one sentence. `newest`: the sequence of the newest version that landed; `origin.document.sequence` is that of the version
    that is found.
    """

    origin: Origin
    verdict: str
    newest: int
    event_time: datetime | None
    received_at: datetime
    landed_at: datetime
    stages: Sequence[Progress]


@dataclass(frozen=True)
class Doors:
    """Each is called in a thread of the server's, by several at once. All raise HeadraceError.

    `authenticate`: the caller that a credential stands for; raises Unauthenticated. `search`: as `retrieval.search.search`, with the
    question in the caller's own words. `document`: a document's passages from an ordinal on, so many at most. `explain`: of a document, or
    of those that contain the passage with this id. `related`: of a document. `ready`: raises what keeps the server from answering.
    """

    authenticate: Callable[[str], Caller]
    search: Callable[[str, SearchRequest], Answer]
    document: Callable[[Caller, str, int, int], DocumentText]
    explain: Callable[[Caller, str], Sequence[Explained]]
    related: Callable[[Caller, str], Related]
    ready: Callable[[], None]
