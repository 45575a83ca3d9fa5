"""The ledger: per document and stage, what the result was computed from. It alone decides what is stale.

Stale = never done, fallen behind a landing, another fingerprint, another input, or waiting and due. Every write is the second half
of a compare-and-set whose first half is `hold`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

from core.sql import statements
from core.tenancy import Connection

Part = Literal["content", "envelope", "acl"]
Status = Literal["done", "failed", "waiting"]


@dataclass(frozen=True)
class Step:
    """A stage as the ledger knows it: what it is computed from (the upstream's output and a part of the event) and how.

    `epoch` is that of the tenant's surrogate key (`core.keys.Surrogates`): nothing is held for who has another one than the tenant.
    """

    stage: str
    upstream: str | None
    part: Part | None
    fingerprint: str
    epoch: int = 0

    def values(self, **more: Any) -> dict[str, Any]:
        return asdict(self) | more


@dataclass(frozen=True)
class Hand:
    """Who took a document last and did not settle it: the worker, with how many it took it together, and after what.

    `deaths` of processes that had it in hand; `trials` in which a process had nothing else in hand.
    """

    worker: int
    company: int
    deaths: int
    trials: int


@dataclass(frozen=True)
class Stale:
    """A document that a stage has to take. `input_key` and `revision` are what the result's write will be compared with.

    `released`: somebody has let this content pass, whatever would put it aside.
    """

    document: str
    revision: int
    input_key: str
    deleted: bool
    sequence: int
    acl: tuple[str, ...]
    kafka_partition: int
    kafka_offset: int
    received_at: datetime
    attempts: int
    envelope: bytes | None = field(repr=False)
    released: bool = False
    hand: Hand | None = None


@dataclass(frozen=True)
class Entry:
    """What to record of one document. `retry_in_s` only where it waits."""

    document: str
    input_key: str
    status: Status
    output_key: str | None = None
    attempts: int = 1
    retry_in_s: float | None = None
    reason: str | None = None
    detail: str | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Letter:
    """A dead letter: where the event is, at which stage it failed and why."""

    kafka_partition: int
    kafka_offset: int
    stage: str
    document: str | None
    reason: str
    detail: str


def reaffirm(connection: Connection, step: Step, only: Sequence[str] | None = None) -> int:
    """Mark done again what landed anew with the same input for this stage, of `only` these where it is given. Gives their number."""
    locked = [row["document"] for row in connection.execute(_sql("lock_behind"), step.values(only=None if only is None else list(only)))]
    return connection.execute(_sql("reaffirm"), step.values(documents=locked)).rowcount if locked else 0


def stale(connection: Connection, step: Step, limit: int, only: Sequence[str] | None = None) -> list[Stale]:
    """Up to `limit` documents for this stage, in the order they landed, those in hand last; of `only` these where it is given."""
    values = step.values(limit=limit, only=None if only is None else list(only))
    return [_stale(row) for row in connection.execute(_sql("stale"), values, binary=True)]


def hold(connection: Connection, step: Step, rows: Sequence[Stale]) -> set[str]:
    """Lock these documents and give those whose input is still what it was when they were found stale; the others have moved on.

    So have all of them where the tenant's surrogate key was rotated meanwhile. None is in hand any more.
    """
    columns = {"documents": "document", "revisions": "revision", "input_keys": "input_key"}
    values = step.values(**{name: [getattr(row, attribute) for row in rows] for name, attribute in columns.items()})
    connection.execute(_sql("lock"), values)
    return {row["document"] for row in connection.execute(_sql("hold"), values)}


def record(connection: Connection, step: Step, entries: Sequence[Entry]) -> None:
    """Write the entries of documents that are held, and settle the dead letters of those that are done."""
    if not entries:
        return
    columns = {"documents": "document", "input_keys": "input_key", "output_keys": "output_key", "statuses": "status"}
    columns |= {"attempts": "attempts", "retries_in_s": "retry_in_s", "reasons": "reason", "details": "detail", "seconds": "seconds"}
    values = {name: [getattr(entry, attribute) for entry in entries] for name, attribute in columns.items()}
    connection.execute(_sql("record"), step.values(**values))
    done = [entry.document for entry in entries if entry.status == "done"]
    connection.execute(_sql("resolve"), {"documents": done, "stage": step.stage})


def fall_behind(connection: Connection, documents: Sequence[str]) -> None:
    """At landing: nothing recorded of these documents speaks of their newest state any more, and no process died of that."""
    connection.execute(_sql("fall_behind"), {"documents": list(documents)})


def lock(connection: Connection, documents: Sequence[str]) -> None:
    """Until the commit neither a landing nor a stage moves these documents."""
    connection.execute(_sql("lock_documents"), {"documents": list(documents)})


def again(connection: Connection, documents: Sequence[str], stage: str | None) -> int:
    """Make what failed or waits stale once more. Gives the number of records."""
    return connection.execute(_sql("again"), {"documents": list(documents), "stage": stage}).rowcount


def release(connection: Connection, document: str, stages: Sequence[str]) -> int:
    """Let the document's content, as it is now, pass what puts documents aside; it is stale for these stages where they failed.

    Gives the number of records that are tried again.
    """
    connection.execute(_sql("release"), {"document": document})
    return sum(again(connection, [document], stage) for stage in stages)


def bury(connection: Connection, letters: Sequence[Letter]) -> None:
    """Write dead letters; one that is there already counts another attempt."""
    if not letters:
        return
    columns = {"partitions": "kafka_partition", "offsets": "kafka_offset", "stages": "stage"}
    columns |= {"documents": "document", "reasons": "reason", "details": "detail"}
    connection.execute(_sql("bury"), {name: [getattr(x, attribute) for x in letters] for name, attribute in columns.items()})


def crashed_last(connection: Connection, step: Step, document: str, reason: str, detail: str) -> bool:
    """Whether the other document that this stage settled last failed for the same reason in the same place."""
    values = step.values(document=document, reason=reason, detail=detail)
    return any(row["alike"] for row in connection.execute(_sql("crashed_last"), values))


def records(connection: Connection, document: str) -> list[dict[str, Any]]:
    """Everything the ledger says of one document, oldest first."""
    return connection.execute(_sql("records"), {"document": document}).fetchall()


def progress(connection: Connection) -> dict[str, dict[str, int]]:
    """Stage → status → documents."""
    table: dict[str, dict[str, int]] = {}
    for row in connection.execute(_sql("progress")):
        table.setdefault(row["stage"], {})[row["status"]] = row["documents"]
    return table


def fail_reasons(connection: Connection, stage: str | None = None) -> dict[str, int]:
    """Reason → documents that failed or wait now, at one stage or at all."""
    rows = connection.execute(_sql("fail_reasons"), {"stage": stage})
    return {row["reason"]: row["documents"] for row in rows}


def _stale(row: dict[str, Any]) -> Stale:
    hand = {name: row.pop(name) for name in ("worker", "company", "deaths", "trials")}
    return Stale(**{**row, "acl": tuple(row["acl"])}, hand=None if hand["worker"] is None else Hand(**hand))


def _sql(name: str) -> Any:
    return statements("core.ledger", "sql/ledger.sql")[name]
