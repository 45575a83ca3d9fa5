"""Retention: deletes what is old enough, by class, as a tenant's `retention` configures. A class without a number is kept forever.

Only what the stages can do without is deleted:

- `landed`: contents that came with their events. Not those of documents that failed, have still to be parsed, or are inside of another
  document. Without its content, a document cannot be parsed again after a change of the parser or of `reading`: it becomes a dead letter,
  `content-expired`, and its older version stays searchable.
- `parsed`: parsed documents that are redacted. If one is needed again it is parsed again, while its content is kept.
- `embeddings`: cached vectors. The index has copies; a text whose vector is deleted is embedded again if needed.
- `events`: the history of landed events, but for each document's newest event and those with an open dead letter.
- `dead_letters`: resolved ones.

Outcomes have no class: they are deleted once they are published. Nor have tombstones, which keep the sequence, and the audit log. Under
legal hold nothing is deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from core.ledger import ledger
from core.ledger.stage import Session
from core.policy import Retention
from core.sql import statements
from core.tenancy import Connection
from pipelines.governance import audit
from pipelines.governance.legal_hold import held
from pipelines.resources import Resources
from pipelines.stages import registry

BATCH = 1_000

CLASSES: Mapping[str, str] = {
    "landed": "contents that came with events",
    "parsed": "parsed documents, not redacted",
    "embeddings": "cached vectors",
    "events": "processed events",
    "dead_letters": "resolved dead letters",
}


@dataclass(frozen=True)
class Row:
    """One class: kept for how many `days` (None: forever), how much `went` now, how much of that age `stays` because it is needed."""

    what: str
    days: int | None
    went: int
    stays: int


@dataclass(frozen=True)
class Enforced:
    """The result of enforcing a tenant's retention once."""

    tenant: str
    held: bool
    classes: Mapping[str, Row]

    @property
    def went(self) -> int:
        return sum(row.went for row in self.classes.values())


def enforce(resources: Resources, tenant: str) -> Enforced:
    """Delete what is old enough. Safe to repeat, and safe beside a running stream."""
    session, on_hold = resources.session(tenant), held(resources, tenant)
    days = _days(session.policy.retention)
    went = dict.fromkeys(CLASSES, 0)
    try:
        for name in () if on_hold else (name for name in CLASSES if days[name]):
            for deleted in _batches(resources, session, name, days[name] or 0):
                went[name] += deleted
    finally:
        if any(went.values()):
            audit.note(resources, "retention", tenant, "done", {name: count for name, count in went.items() if count})
    stays = _old_enough(session, days)
    return Enforced(tenant, on_hold, {name: Row(CLASSES[name], days[name], went[name], stays[name]) for name in CLASSES})


def _days(retention: Retention) -> dict[str, int | None]:
    return {name: getattr(retention, f"{name}_days") for name in CLASSES}


def _batches(resources: Resources, session: Session, name: str, days: int) -> Iterator[int]:
    """The number of rows deleted by each transaction, until none is left."""
    if stage := _NEEDED_BY.get(name):
        step = registry.step(stage, resources, session.policy, session.keys.epoch)
        values = {"days": days, "limit": BATCH, "fingerprint": step.fingerprint}
        yield from _repeated(session, lambda connection: _drop(connection, name, values))
    else:
        yield from _repeated(session, lambda connection: connection.execute(_SQL[name], {"days": days, "limit": BATCH}).rowcount)


_NEEDED_BY = {"landed": "parse", "parsed": "redact"}
"""The stage that reads this class: a document that is stale for it still needs its row."""
_STAGE = {"landed": "land", "parsed": "parse"}


def _repeated(session: Session, delete: Callable[[Connection], int]) -> Iterator[int]:
    while True:
        with session.transaction() as connection:
            deleted = delete(connection)
        yield deleted
        if deleted < BATCH:
            return


def _drop(connection: Connection, name: str, values: Mapping[str, Any]) -> int:
    found = _documents(connection, name, values, None)
    ledger.lock(connection, found)
    # queried again under the lock: a document may have landed again meanwhile
    still = _documents(connection, name, values, found)
    connection.execute(_SQL["drop"], {"stage": _STAGE[name], "documents": still})
    return len(still)


def _documents(connection: Connection, name: str, values: Mapping[str, Any], of: list[str] | None) -> list[str]:
    return [row["document"] for row in connection.execute(_SQL[name], {**values, "documents": of})]


def _old_enough(session: Session, days: Mapping[str, int | None]) -> dict[str, int]:
    with session.transaction() as connection:
        return dict(connection.execute(_SQL["kept_back"], {f"{name}_days": of for name, of in days.items()}).fetchall()[0])


_SQL = statements("pipelines.governance", "sql/retention.sql")
