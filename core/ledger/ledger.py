"""The ledger: per document and stage, what the result was computed from. It alone decides what is stale.

Stale = never done, invalidated by a landing, another fingerprint, another input, or waiting and due. Every write is the second half
of a compare-and-set whose first half is `lock_current`.
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

    `epoch` is that of the tenant's surrogate key (`core.keys.Surrogates`): a result computed under another epoch is stale.
    """

    stage: str
    upstream: str | None
    part: Part | None
    fingerprint: str
    epoch: int = 0

    def values(self, **more: Any) -> dict[str, Any]:
        return asdict(self) | more


@dataclass(frozen=True)
class Claim:
    """The unfinished claim on a document: the process that claimed it, together with how many others, and the history.

    `crashes`: processes that died with the document claimed; `solo_attempts`: those of them that had claimed nothing else.
    """

    process: int
    batch_size: int
    crashes: int
    solo_attempts: int


@dataclass(frozen=True)
class Stale:
    """A document that is stale for a stage. The write of the result is compared with `input_key` and `revision`.

    `released`: an operator released this content from quarantine.
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
    claim: Claim | None = None


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
class DeadLetter:
    """Where the event is, at which stage its document failed, and why."""

    kafka_partition: int
    kafka_offset: int
    stage: str
    document: str | None
    reason: str
    detail: str


def revalidate(connection: Connection, step: Step, only: Sequence[str] | None = None) -> int:
    """Mark invalidated records whose input is unchanged as done; of `only` these documents if given. Returns their number."""
    locked = [row["document"] for row in connection.execute(_SQL["lock_behind"], step.values(only=None if only is None else list(only)))]
    return connection.execute(_SQL["revalidate"], step.values(documents=locked)).rowcount if locked else 0


def stale(connection: Connection, step: Step, limit: int, only: Sequence[str] | None = None) -> list[Stale]:
    """Up to `limit` documents that are stale for this stage, in landing order, claimed ones last; of `only` these documents if given."""
    values = step.values(limit=limit, only=None if only is None else list(only))
    return [_stale(row) for row in connection.execute(_SQL["stale"], values, binary=True)]


def lock_current(connection: Connection, step: Step, rows: Sequence[Stale]) -> set[str]:
    """Lock these documents and return those whose input is unchanged since they were found stale.

    None is current if the tenant's surrogate key was rotated meanwhile. The claims on all of them are deleted.
    """
    columns = {"documents": "document", "revisions": "revision", "input_keys": "input_key"}
    values = step.values(**{name: [getattr(row, attribute) for row in rows] for name, attribute in columns.items()})
    connection.execute(_SQL["lock"], values)
    return {row["document"] for row in connection.execute(_SQL["current"], values)}


def record(connection: Connection, step: Step, entries: Sequence[Entry]) -> None:
    """Write the entries of documents that are current, and resolve the dead letters of those that are done."""
    if not entries:
        return
    columns = {"documents": "document", "input_keys": "input_key", "output_keys": "output_key", "statuses": "status"}
    columns |= {"attempts": "attempts", "retries_in_s": "retry_in_s", "reasons": "reason", "details": "detail", "seconds": "seconds"}
    values = {name: [getattr(entry, attribute) for entry in entries] for name, attribute in columns.items()}
    connection.execute(_SQL["record"], step.values(**values))
    done = [entry.document for entry in entries if entry.status == "done"]
    connection.execute(_SQL["resolve"], {"documents": done, "stage": step.stage})


def invalidate(connection: Connection, documents: Sequence[str]) -> None:
    """At landing: mark every record of these documents as `behind`, and delete the claims on them, which are about an older state."""
    connection.execute(_SQL["invalidate"], {"documents": list(documents)})


def lock(connection: Connection, documents: Sequence[str]) -> None:
    """Until the commit neither a landing nor a stage changes these documents."""
    connection.execute(_SQL["lock_documents"], {"documents": list(documents)})


def retry(connection: Connection, documents: Sequence[str], stage: str | None) -> int:
    """Make failed and waiting records stale again. Returns the number of records."""
    return connection.execute(_SQL["retry"], {"documents": list(documents), "stage": stage}).rowcount


def release(connection: Connection, document: str, stages: Sequence[str]) -> int:
    """Release the document's present content from quarantine, and retry those of these stages that failed.

    Returns the number of records that are stale again.
    """
    connection.execute(_SQL["release"], {"document": document})
    return sum(retry(connection, [document], stage) for stage in stages)


def dead_letter(connection: Connection, letters: Sequence[DeadLetter]) -> None:
    """Write dead letters; one that exists counts another attempt."""
    if not letters:
        return
    columns = {"partitions": "kafka_partition", "offsets": "kafka_offset", "stages": "stage"}
    columns |= {"documents": "document", "reasons": "reason", "details": "detail"}
    connection.execute(_SQL["dead_letter"], {name: [getattr(x, attribute) for x in letters] for name, attribute in columns.items()})


def crashed_last(connection: Connection, step: Step, document: str, reason: str, detail: str) -> bool:
    """Whether the other document that this stage finished last failed for the same reason in the same place."""
    values = step.values(document=document, reason=reason, detail=detail)
    return any(row["alike"] for row in connection.execute(_SQL["crashed_last"], values))


def records(connection: Connection, document: str) -> list[dict[str, Any]]:
    """Everything the ledger says of one document, oldest first."""
    return connection.execute(_SQL["records"], {"document": document}).fetchall()


def progress(connection: Connection) -> dict[str, dict[str, int]]:
    """Stage → status → documents."""
    table: dict[str, dict[str, int]] = {}
    for row in connection.execute(_SQL["progress"]):
        table.setdefault(row["stage"], {})[row["status"]] = row["documents"]
    return table


def failure_reasons(connection: Connection, stage: str | None = None) -> dict[str, int]:
    """Reason → documents that failed or wait now, at one stage or at all."""
    rows = connection.execute(_SQL["failure_reasons"], {"stage": stage})
    return {row["reason"]: row["documents"] for row in rows}


def _stale(row: dict[str, Any]) -> Stale:
    claim = {name: row.pop(name) for name in ("process", "batch_size", "crashes", "solo_attempts")}
    return Stale(**{**row, "acl": tuple(row["acl"])}, claim=None if claim["process"] is None else Claim(**claim))


_SQL = statements("core.ledger", "sql/ledger.sql")
