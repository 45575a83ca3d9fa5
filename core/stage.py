"""How a stage runs: take what is stale, compute outside any transaction, write the result as a compare-and-set.

One loop for materialization and for the stream. It knows no particular stage: `pipelines.way` composes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import polars as pl

from core import artifacts, ledger, outcomes
from core.errors import DocumentError, Unavailable
from core.keys import TenantKeys
from core.ledger import Entry, Letter, Stale, Step
from core.tenancy import Connection, Database

MAX_ATTEMPTS = 8
"""After so many tries, ten minutes apart in the end and 36 minutes in all, what was thought to pass is a dead letter."""


@dataclass(frozen=True)
class Session:
    """A tenant at work: its name, its way into the database, its keys."""

    tenant: str
    database: Database
    keys: TenantKeys

    def transaction(self) -> AbstractContextManager[Connection]:
        return self.database.tenant(self.tenant)


Compute = Callable[[Session, Sequence[Stale], Counter[str]], pl.DataFrame]
Store = Callable[[Connection, Session, Mapping[str, bytes]], Collection[str]]
Remove = Callable[[Connection, Session, Sequence[str]], Collection[str]]


@dataclass(frozen=True)
class Stage:
    """What a stage is.

    `compute` gets live documents and gives a `core.frames.RESULT` frame; it may count things in the tally it is handed.
    `store` writes the payloads of documents that are held, `remove` what there is of deleted ones, both in the ledger's transaction;
    both give the documents that they could not take after all, which stay stale.
    `reaffirms`: a landing that leaves the input as it was leaves the result as it was.
    `about` says with what the stage worked, for people to read; it is asked once, with the tally, when a run is over.
    """

    step: Step
    compute: Compute
    store: Store
    remove: Remove
    batch: int = 64
    reaffirms: bool = True
    about: Callable[[Mapping[str, int]], Mapping[str, str]] = lambda _: {}

    @property
    def name(self) -> str:
        return self.step.stage


@dataclass
class Report:
    """What a run of a stage came to.

    `tally` holds the stage's own counts (texts embedded, values redacted, …), `about` what it worked with.
    """

    stage: str
    tenant: str
    done: int = 0
    deleted: int = 0
    failed: int = 0
    waiting: int = 0
    superseded: int = 0
    reaffirmed: int = 0
    seconds: float = 0.0
    unavailable: str | None = None
    reasons: Counter[str] = field(default_factory=Counter)
    tally: Counter[str] = field(default_factory=Counter)
    about: dict[str, str] = field(default_factory=dict)

    @property
    def moved(self) -> int:
        """Documents whose record changed in this run."""
        return self.done + self.deleted + self.failed + self.waiting


Progress = Callable[[Report], None]


def run(stage: Stage, session: Session, progress: Progress = lambda _: None, only: Sequence[str] | None = None) -> Report:
    """Take batches until nothing is stale for this stage, or a server it needs is away (`report.unavailable` says which).

    `only` limits it to these documents.
    """
    started, report = perf_counter(), Report(stage.name, session.tenant)
    try:
        if stage.reaffirms:
            with session.transaction() as connection:
                report.reaffirmed = ledger.reaffirm(connection, stage.step)
        for batch in _batches(stage, session, only):
            _pass(stage, session, batch, report)
            report.seconds = perf_counter() - started
            progress(report)
    except Unavailable as error:
        report.unavailable = error.detail
    report.seconds = perf_counter() - started
    report.about = dict(stage.about(report.tally))
    return report


def _batches(stage: Stage, session: Session, only: Sequence[str] | None) -> Iterator[list[Stale]]:
    """Batches of stale documents, ending when none is left or the same ones come back untouched."""
    last: set[tuple[str, int, str]] = set()
    while True:
        with session.transaction() as connection:
            batch = ledger.stale(connection, stage.step, stage.batch, only)
        seen = {(row.document, row.revision, row.input_key) for row in batch}
        if not batch or seen == last:
            return
        yield batch
        last = seen


def _pass(stage: Stage, session: Session, batch: list[Stale], report: Report) -> None:
    by_document = {row.document: row for row in batch}
    live = [row for row in batch if not row.deleted]
    results = stage.compute(session, live, report.tally).to_dicts() if live else []
    gone = [row for row in batch if row.deleted]
    entries = [_entry(row, by_document[row["document"]], session) for row in results]
    entries += [Entry(row.document, row.input_key, "done", output_key="deleted") for row in gone]
    for written, held in _settle(stage, session, entries, {row["document"]: row["payload"] for row in results}, by_document):
        _count(report, written, held, by_document)


def _settle(
    stage: Stage, session: Session, entries: list[Entry], payloads: dict[str, bytes], batch: Mapping[str, Stale]
) -> Iterator[tuple[list[Entry], set[str]]]:
    """Commit together. Where the database refuses a document's values: one by one, so that its neighbours go on and it fails alone."""
    try:
        yield entries, _commit(stage, session, entries, payloads, batch)
    except DocumentError as error:
        if len(entries) > 1:
            for entry in entries:
                yield from _settle(stage, session, [entry], payloads, batch)
        elif entries[0].status == "done":
            refused = replace(entries[0], status="failed", output_key=None, reason=error.reason, detail=error.detail)
            yield [refused], _commit(stage, session, [refused], payloads, batch)
        else:
            raise


def _commit(stage: Stage, session: Session, entries: list[Entry], payloads: dict[str, bytes], batch: Mapping[str, Stale]) -> set[str]:
    """One transaction: hold, store, remove, record, bury, and tell. What is not held has moved on, and its result is thrown away."""
    with session.transaction() as connection:
        held = ledger.hold(connection, stage.step, [batch[entry.document] for entry in entries])
        done = [entry.document for entry in entries if entry.status == "done" and entry.document in held]
        held -= set(stage.store(connection, session, {d: payloads[d] for d in done if not batch[d].deleted}))
        held -= set(stage.remove(connection, session, [d for d in done if batch[d].deleted]))
        kept = [entry for entry in entries if entry.document in held]
        ledger.record(connection, stage.step, kept)
        letters = [_letter(stage.name, entry, batch[entry.document]) for entry in kept if entry.status == "failed"]
        ledger.bury(connection, letters)
        outcomes.refuse(connection, letters)
    return held


def _entry(row: dict[str, Any], stale: Stale, session: Session) -> Entry:
    if row["reason"] is None:
        key = artifacts.output_key(session.keys, row["payload"])
        return Entry(stale.document, stale.input_key, "done", output_key=key, seconds=row["seconds"])
    attempts = stale.attempts + 1
    waits = row["reason"] == Unavailable.reason and attempts < MAX_ATTEMPTS
    return Entry(
        stale.document,
        stale.input_key,
        "waiting" if waits else "failed",
        attempts=attempts,
        retry_in_s=min(4.0**attempts, 600.0) if waits else None,
        reason=row["reason"],
        detail=row["detail"],
        seconds=row["seconds"],
    )


def _letter(stage: str, entry: Entry, row: Stale) -> Letter:
    reason, detail = entry.reason or "", entry.detail or ""
    return Letter(row.kafka_partition, row.kafka_offset, stage, row.document, reason, detail)


def _count(report: Report, entries: list[Entry], held: set[str], batch: Mapping[str, Stale]) -> None:
    for entry in entries:
        if entry.document not in held:
            report.superseded += 1
        elif entry.status == "done" and batch[entry.document].deleted:
            report.deleted += 1
        else:
            setattr(report, entry.status, getattr(report, entry.status) + 1)
            if entry.reason:
                report.reasons[entry.reason] += 1
