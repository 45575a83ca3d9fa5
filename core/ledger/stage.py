"""How a stage runs: claim what is stale, compute outside any transaction, commit the results as a compare-and-set.

One loop for materialization and for the stream. It knows no particular stage: `pipelines.stages.registry` lists them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from time import perf_counter

from core import artifacts, crashpoints, outcomes
from core.backoff import backoff_s, jittered
from core.errors import DocumentError, HeadraceError, Unavailable
from core.frames import Result
from core.keys import TenantKeys
from core.ledger import claims, ledger
from core.ledger.bisection import Culprit, StageCrashed, bisected, crashed_alike
from core.ledger.claims import Claimed
from core.ledger.ledger import DeadLetter, Entry, Stale, Step
from core.policy import Policy
from core.tenancy import Connection, Database, PostgresUnavailable

MAX_ATTEMPTS = 8
"""Attempts before a failure that seemed temporary becomes a dead letter: up to ten minutes apart, 18 to 36 minutes in all."""

FIRST_RETRY_S, LONGEST_RETRY_S, RETRY_FACTOR = 4.0, 600.0, 4.0


@dataclass(frozen=True)
class Session:
    """What a stage needs to work for a tenant: its name, access to its rows, its keys, and its policy."""

    tenant: str
    database: Database
    keys: TenantKeys
    policy: Policy = field(default_factory=Policy)

    def transaction(self, point: str | None = None) -> AbstractContextManager[Connection]:
        """A transaction as this tenant. `point` names its commit for `core.crashpoints`."""
        transaction = self.database.tenant(self.tenant)
        return transaction if point is None else crashpoints.around(point, transaction)


class Stage(ABC):
    """One step of the pipeline.

    `step` says what its results depend on. `batch`: documents that it takes at a time, at most. `revalidates`: a landing that leaves
    the input unchanged leaves the result valid. `decides`: a document that fails here is not indexed, and its event's outcome says so.
    """

    step: Step
    batch: int = 64
    revalidates: bool = True
    decides: bool = True

    @abstractmethod
    def compute(self, session: Session, rows: Sequence[Stale], tally: Counter[str]) -> Sequence[Result]:
        """Results of live documents, outside any transaction; it may count things in the tally. A document without one stays stale."""

    def store(self, connection: Connection, session: Session, payloads: Mapping[str, bytes]) -> Collection[str]:
        """Write the payloads of documents that are current, in the ledger's transaction. Returns documents that have to stay stale."""
        artifacts.put(connection, session.keys, self.step.stage, payloads)
        return ()

    def remove(self, connection: Connection, session: Session, documents: Sequence[str]) -> Collection[str]:  # noqa: ARG002
        """Remove what the stage stored of deleted documents, in the ledger's transaction. Returns documents that have to stay stale."""
        artifacts.discard(connection, [self.step.stage], documents)
        return ()

    def about(self, tally: Mapping[str, int]) -> Mapping[str, str]:  # noqa: ARG002
        """What the stage worked with, for people. Asked once, with the tally, at the end of a run."""
        return {}


@dataclass
class Report:
    """The result of a run of a stage.

    `latencies`: for each finished document, the seconds from `received_at` (the broker's time of its event) to the commit.
    `tally` holds the stage's own counts (texts embedded, values redacted, …), `about` what it worked with.
    """

    stage: str
    tenant: str
    done: int = 0
    deleted: int = 0
    failed: int = 0
    waiting: int = 0
    superseded: int = 0
    revalidated: int = 0
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

    def followed_by(self, later: Report) -> Report:
        """Two runs of a stage as one: counts add up, `unavailable` is the later run's."""
        sums = {name: getattr(self, name) + getattr(later, name) for name in _SUMMED}
        return replace(later, **sums, about=self.about | later.about)


_SUMMED = ("done", "deleted", "failed", "waiting", "superseded", "revalidated", "seconds", "latencies", "reasons", "tally")

Progress = Callable[[Report], None]


def run(stage: Stage, session: Session, progress: Progress = lambda _: None, only: Sequence[str] | None = None) -> Report:
    """Take batches until nothing is stale for this stage, or a server it needs is unavailable (`report.unavailable` says which).

    `only` limits it to these documents. What becomes stale meanwhile may be left to the next run.
    Raises StageCrashed if no document passes because each crashes the stage in the same place.
    """
    started, work = perf_counter(), _Run(stage, session, only)
    try:
        while work.advance():
            work.report.seconds = perf_counter() - started
            progress(work.report)
    except Unavailable as error:
        work.report.unavailable = error.detail
        if isinstance(error, PostgresUnavailable):
            work.abandon_claims()
    finally:
        work.release_claims()
    work.report.seconds = perf_counter() - started
    work.report.about = dict(stage.about(work.report.tally))
    return work.report


class _Run:
    """One run of a stage: the documents it has claimed, and its report so far."""

    def __init__(self, stage: Stage, session: Session, only: Sequence[str] | None) -> None:
        self.report = Report(stage.step.stage, session.tenant)
        self._stage, self._session, self._only = stage, session, only
        self._revalidates = stage.revalidates
        self._claimed: set[str] = set()
        self._committed: set[str] = set()
        self._last: set[tuple[str, int, str]] = set()
        self._finished = False

    def advance(self) -> bool:
        """Claim and finish one batch. False if none is left, or the same documents came back unchanged."""
        computing = self._session.database.computing
        if self._finished:
            return False
        with computing.shared():
            claimed = self._claim(exclusive=False)
            if not claimed.solo:
                return self._finish(claimed)
        with computing.exclusive():
            return self._finish(self._claim(exclusive=True))

    def _claim(self, *, exclusive: bool) -> Claimed:
        stage, only = self._stage, self._only
        process = self._session.database.presence()
        with self._session.transaction() as connection:
            if self._revalidates:
                self.report.revalidated += ledger.revalidate(connection, stage.step, only)
            found = ledger.stale(connection, stage.step, stage.batch, only)
            claimed = claims.claim(connection, stage.step, found, process, exclusive=exclusive)
        self._revalidates = False
        self._claimed.update(row.document for row in claimed.rows)
        complete = len(found) < stage.batch or len(found) == len(set(only or ()))
        return replace(claimed, complete=claimed.complete and complete)

    def _finish(self, claimed: Claimed) -> bool:
        """Compute a batch and commit its results. False if it is empty or was just finished in the same state."""
        state = {(row.document, row.revision, row.input_key) for row in claimed.rows}
        if not claimed.rows or state == self._last:
            return False
        self._last = state
        self._committed.clear()
        batch = {row.document: row for row in claimed.rows}
        entries, payloads = self._poisoned(claimed) if claimed.poisoned else self._computed(claimed.rows)
        for written, current in self._commit(entries, payloads, batch):
            self._claimed -= {entry.document for entry in written}
            self._committed |= current
            _count(self.report, written, current, batch)
        self._finished = claimed.complete and self._committed.issuperset(batch)
        return True

    def _poisoned(self, claimed: Claimed) -> tuple[list[Entry], dict[str, bytes]]:
        detail = f"alone with it, {claims.SOLO_ATTEMPTS} processes died"
        return [_failed(row, reason="killed-its-worker", detail=detail) for row in claimed.rows], {}

    def _computed(self, rows: Sequence[Stale]) -> tuple[list[Entry], dict[str, bytes]]:
        """What to record of each document, and the payloads of those that passed. Deleted ones need no computing."""
        live = {row.document: row for row in rows if not row.deleted}
        results, culprits = self._bisected(list(live.values())) if live else ([], [])
        entries = [_entry(result, live[result.document], self._session) for result in results]
        entries += [_failed(culprit.row, culprit.reason, culprit.detail) for culprit in culprits]
        entries += [Entry(row.document, row.input_key, "done", output_key="deleted") for row in rows if row.deleted]
        return entries, {result.document: result.payload for result in results if result.payload is not None}

    def _bisected(self, rows: Sequence[Stale]) -> tuple[list[Result], list[Culprit[Stale]]]:
        results, culprits = bisected(self._attempt, rows)
        if crashed_alike(culprits, rows) and self._is_broken(culprits):
            raise StageCrashed(f"{self._stage.step.stage}: {culprits[0].detail}")
        return results, culprits

    def _attempt(self, rows: Sequence[Stale]) -> Sequence[Result]:
        tally: Counter[str] = Counter()
        results = self._stage.compute(self._session, rows, tally)
        self.report.tally.update(tally)
        return results

    def _is_broken(self, crashed: Sequence[Culprit[Stale]]) -> bool:
        """Whether the stage is at fault and not the documents: several crashed and none passed, or one did right after another alike."""
        if len(crashed) > 1:
            return True
        culprit = crashed[0]
        with self._session.transaction() as connection:
            return ledger.crashed_last(connection, self._stage.step, culprit.row.document, culprit.reason, culprit.detail)

    def _commit(
        self, entries: list[Entry], payloads: dict[str, bytes], batch: Mapping[str, Stale]
    ) -> Iterator[tuple[list[Entry], set[str]]]:
        """Commit together; if the database refuses a document's values, one by one, so that only that document fails."""
        try:
            yield entries, _committed(self._stage, self._session, entries, payloads, batch)
        except DocumentError as error:
            if len(entries) > 1:
                for entry in entries:
                    yield from self._commit([entry], payloads, batch)
            elif entries[0].status == "done":
                refused = replace(entries[0], status="failed", output_key=None, reason=error.reason, detail=error.detail)
                yield [refused], _committed(self._stage, self._session, [refused], payloads, batch)
            else:
                raise

    def abandon_claims(self) -> None:
        """Forget the claims without releasing them: Postgres is unavailable, and when it is back this process still counts as alive."""
        self._claimed.clear()

    def release_claims(self) -> None:
        """Give up the claims on what was not finished: no process crashed on it."""
        with suppress(HeadraceError):
            if self._claimed:
                process = self._session.database.presence()
                with self._session.transaction() as connection:
                    claims.release(connection, self._stage.step, self._claimed, process)


def _committed(stage: Stage, session: Session, entries: list[Entry], payloads: dict[str, bytes], batch: Mapping[str, Stale]) -> set[str]:
    """One transaction: lock, then write outputs, records, dead letters, outcomes. Returns the documents that were current.

    The other documents have changed meanwhile, and their results are discarded.
    """
    with session.transaction(stage.step.stage) as connection:
        current = ledger.lock_current(connection, stage.step, [batch[entry.document] for entry in entries])
        done = [entry.document for entry in entries if entry.status == "done" and entry.document in current]
        current -= set(stage.store(connection, session, {d: payloads[d] for d in done if not batch[d].deleted}))
        current -= set(stage.remove(connection, session, [d for d in done if batch[d].deleted]))
        recorded = [entry for entry in entries if entry.document in current]
        ledger.record(connection, stage.step, recorded)
        letters = [_letter(stage.step.stage, entry, batch[entry.document]) for entry in recorded if entry.status == "failed"]
        ledger.dead_letter(connection, letters)
        outcomes.refuse(connection, letters if stage.decides else [])
    return current


def _entry(result: Result, stale: Stale, session: Session) -> Entry:
    if result.payload is not None:
        key = artifacts.output_key(session.keys, result.payload)
        return Entry(stale.document, stale.input_key, "done", output_key=key, seconds=result.seconds)
    attempts = stale.attempts + 1
    waits = result.reason == Unavailable.reason and attempts < MAX_ATTEMPTS
    return Entry(
        stale.document,
        stale.input_key,
        "waiting" if waits else "failed",
        attempts=attempts,
        retry_in_s=_retry_in_s(attempts) if waits else None,
        reason=result.reason,
        detail=result.detail,
        seconds=result.seconds,
    )


def _failed(row: Stale, reason: str, detail: str) -> Entry:
    return Entry(row.document, row.input_key, "failed", attempts=row.attempts + 1, reason=reason, detail=detail)


def _retry_in_s(attempts: int) -> float:
    return jittered(backoff_s(attempts, FIRST_RETRY_S, LONGEST_RETRY_S, RETRY_FACTOR))


def _letter(stage: str, entry: Entry, row: Stale) -> DeadLetter:
    return DeadLetter(row.kafka_partition, row.kafka_offset, stage, row.document, entry.reason or "", entry.detail or "")


def _count(report: Report, entries: list[Entry], current: set[str], batch: Mapping[str, Stale]) -> None:
    now = datetime.now(UTC)
    for entry in entries:
        if entry.status == "done" and entry.document in current:
            # the broker's clock may be ahead of ours
            report.latencies.append(max(0.0, (now - batch[entry.document].received_at).total_seconds()))
        if entry.document not in current:
            report.superseded += 1
        elif entry.status == "done" and batch[entry.document].deleted:
            report.deleted += 1
        else:
            setattr(report, entry.status, getattr(report, entry.status) + 1)
            if entry.reason:
                report.reasons[entry.reason] += 1
