"""How a stage runs: take what is stale, compute outside any transaction, write the result as a compare-and-set.

One loop for materialization and for the stream. It knows no particular stage: `pipelines.stages.registry` composes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import uniform
from time import perf_counter
from typing import Any

import polars as pl

from core import artifacts, crashpoints, outcomes
from core.errors import DocumentError, HeadraceError, Unavailable
from core.keys import TenantKeys
from core.ledger import claims, ledger
from core.ledger.bisection import Culprit, StageCrashed, crashed_alike, halved
from core.ledger.claims import Taken
from core.ledger.ledger import Entry, Letter, Stale, Step
from core.policy import Policy
from core.tenancy import Connection, Database, PostgresAway

MAX_ATTEMPTS = 8
"""After so many tries, up to ten minutes apart in the end and 18 to 36 minutes in all, what was thought to pass is a dead letter."""


@dataclass(frozen=True)
class Session:
    """A tenant at work: its name, its way into the database, its keys, and what it has decided for itself."""

    tenant: str
    database: Database
    keys: TenantKeys
    policy: Policy = field(default_factory=Policy)

    def transaction(self, point: str | None = None) -> AbstractContextManager[Connection]:
        """A transaction as this tenant. `point` names its commit for `core.crashpoints`."""
        transaction = self.database.tenant(self.tenant)
        return transaction if point is None else crashpoints.around(point, transaction)


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

    `latencies`: of each document that it finished, the seconds from `received_at` (the broker's time of its event) to the commit.
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
    latencies: list[float] = field(default_factory=list)
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

    `only` limits it to these documents. What becomes stale meanwhile may be left to the next run.
    Raises StageCrashed where no document passes, each crashing the stage in the same place.
    """
    started, work = perf_counter(), _Run(stage, session, only)
    try:
        while work.advance():
            work.report.seconds = perf_counter() - started
            progress(work.report)
    except Unavailable as error:
        work.report.unavailable = error.detail
        if isinstance(error, PostgresAway):
            work.leave()
    finally:
        work.put_down()
    work.report.seconds = perf_counter() - started
    work.report.about = dict(stage.about(work.report.tally))
    return work.report


class _Run:
    """One run of a stage: what it has in hand, and what became of that."""

    def __init__(self, stage: Stage, session: Session, only: Sequence[str] | None) -> None:
        self.report = Report(stage.name, session.tenant)
        self._stage, self._session, self._only = stage, session, only
        self._reaffirms = stage.reaffirms
        self._in_hand: set[str] = set()
        self._settled: set[str] = set()
        self._last: set[tuple[str, int, str]] = set()
        self._over = False

    def advance(self) -> bool:
        """Take and settle one batch. False where none is left, or the same ones came back untouched."""
        turns = self._session.database.turns
        if self._over:
            return False
        with turns.together():
            taken = self._take(alone=False)
            if not taken.trial:
                return self._settle(taken)
        with turns.alone():
            return self._settle(self._take(alone=True))

    def _settle(self, taken: Taken) -> bool:
        now = {(row.document, row.revision, row.input_key) for row in taken.rows}
        if not taken.rows or now == self._last:
            return False
        self._last = now
        self._settled.clear()
        self._pass(taken)
        self._over = taken.whole and self._settled.issuperset(row.document for row in taken.rows)
        return True

    def _pass(self, taken: Taken) -> None:
        """Compute, and commit what came of it."""
        batch = {row.document: row for row in taken.rows}
        live = [] if taken.condemned else [row for row in taken.rows if not row.deleted]
        results, culprits = self._computed(live) if live else ([], [])
        entries = [_entry(row, batch[row["document"]], self._session) for row in results]
        entries += [_failed(culprit.row, culprit.reason, culprit.detail) for culprit in culprits]
        if taken.condemned:
            entries += [
                _failed(row, reason="killed-its-worker", detail=f"alone with it, {claims.TRIALS} processes died") for row in taken.rows
            ]
        else:
            entries += [Entry(row.document, row.input_key, "done", output_key="deleted") for row in taken.rows if row.deleted]
        for written, held in self._written(entries, {row["document"]: row["payload"] for row in results}, batch):
            self._in_hand -= {entry.document for entry in written}
            self._settled |= held
            _count(self.report, written, held, batch)

    def leave(self) -> None:
        """Without Postgres nothing can be put down, and need not be: when it is back, this process is known to live."""
        self._in_hand.clear()

    def put_down(self) -> None:
        """Let go of what was not settled: no process died of it."""
        with suppress(HeadraceError):
            if self._in_hand:
                worker = self._session.database.present()
                with self._session.transaction() as connection:
                    claims.put_down(connection, self._stage.step, self._in_hand, worker)

    def _take(self, *, alone: bool) -> Taken:
        stage, only = self._stage, self._only
        worker = self._session.database.present()
        with self._session.transaction() as connection:
            if self._reaffirms:
                self.report.reaffirmed += ledger.reaffirm(connection, stage.step, only)
            found = ledger.stale(connection, stage.step, stage.batch, only)
            taken = claims.take(connection, stage.step, found, worker, alone=alone)
        self._reaffirms = False
        self._in_hand.update(row.document for row in taken.rows)
        every = len(found) < stage.batch or len(found) == len(set(only or ()))
        return replace(taken, whole=taken.whole and every)

    def _computed(self, rows: Sequence[Stale]) -> tuple[list[dict[str, Any]], list[Culprit[Stale]]]:
        results, culprits = halved(self._attempt, rows)
        if crashed_alike(culprits, rows) and self._is_broken(culprits):
            raise StageCrashed(f"{self._stage.name}: {culprits[0].detail}")
        return results, culprits

    def _attempt(self, rows: Sequence[Stale]) -> list[dict[str, Any]]:
        tally: Counter[str] = Counter()
        results = self._stage.compute(self._session, rows, tally).to_dicts()
        self.report.tally.update(tally)
        return results

    def _is_broken(self, crashed: Sequence[Culprit[Stale]]) -> bool:
        """Whether it is the stage and not the documents: several, and none passed; or one, right after another one crashed alike."""
        if len(crashed) > 1:
            return True
        of = crashed[0]
        with self._session.transaction() as connection:
            return ledger.crashed_last(connection, self._stage.step, of.row.document, of.reason, of.detail)

    def _written(
        self, entries: list[Entry], payloads: dict[str, bytes], batch: Mapping[str, Stale]
    ) -> Iterator[tuple[list[Entry], set[str]]]:
        """Commit together. Where the database refuses a document's values: one by one, so that its neighbours go on and it fails alone."""
        try:
            yield entries, _commit(self._stage, self._session, entries, payloads, batch)
        except DocumentError as error:
            if len(entries) > 1:
                for entry in entries:
                    yield from self._written([entry], payloads, batch)
            elif entries[0].status == "done":
                refused = replace(entries[0], status="failed", output_key=None, reason=error.reason, detail=error.detail)
                yield [refused], _commit(self._stage, self._session, [refused], payloads, batch)
            else:
                raise


def _commit(stage: Stage, session: Session, entries: list[Entry], payloads: dict[str, bytes], batch: Mapping[str, Stale]) -> set[str]:
    """One transaction: hold, store, remove, record, bury, and tell. What is not held has moved on, and its result is thrown away."""
    with session.transaction(stage.name) as connection:
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
        retry_in_s=_pause(attempts) if waits else None,
        reason=row["reason"],
        detail=row["detail"],
        seconds=row["seconds"],
    )


def _failed(row: Stale, reason: str, detail: str) -> Entry:
    return Entry(row.document, row.input_key, "failed", attempts=row.attempts + 1, reason=reason, detail=detail)


def _pause(attempts: int) -> float:
    """Seconds until the next try: exponential, with equal jitter (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).

    So that what failed together is not tried together. Equal and not full jitter, though that costs a server least: tries are few here,
    and a short draw would spend one of them on a server that had no time to come back.
    """
    longest = min(4.0**attempts, 600.0)
    return uniform(longest / 2, longest)  # noqa: S311 - nobody gains from guessing it


def _letter(stage: str, entry: Entry, row: Stale) -> Letter:
    reason, detail = entry.reason or "", entry.detail or ""
    return Letter(row.kafka_partition, row.kafka_offset, stage, row.document, reason, detail)


def _count(report: Report, entries: list[Entry], held: set[str], batch: Mapping[str, Stale]) -> None:
    now = datetime.now(UTC)
    for entry in entries:
        if entry.status == "done" and entry.document in held:
            # the broker's clock may be ahead of ours
            report.latencies.append(max(0.0, (now - batch[entry.document].received_at).total_seconds()))
        if entry.document not in held:
            report.superseded += 1
        elif entry.status == "done" and batch[entry.document].deleted:
            report.deleted += 1
        else:
            setattr(report, entry.status, getattr(report, entry.status) + 1)
            if entry.reason:
                report.reasons[entry.reason] += 1
