"""Retention: what is let go of a tenant once it is old enough, by class, as its `retention` says. Without a number nothing goes.

Only what the way can do without goes:

- `landed`: contents that came with their events. What failed, or has still to be parsed, keeps its own, and so does what is inside of
  another document. Once it is gone, a changed parser or a changed `reading` finds nothing to read: that document is a dead letter,
  `content-expired`, and its older version stays searchable.
- `parsed`: what a parser made of documents that are redacted. Who needs it again has it parsed again, from content that is there.
- `embeddings`: cached vectors. The index has copies; a text that needs one that went is embedded again.
- `events`: the history of what landed, but for each document's newest event and those with an open dead letter.
- `dead_letters`: settled ones.

Outcomes have no class: a row is what a source has still to be told, and goes when it was told. Nor have tombstones, which keep the
sequence, and the audit log. While a tenant is under legal hold nothing goes.
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
    "events": "events that were processed",
    "dead_letters": "dead letters that are settled",
}


@dataclass(frozen=True)
class Row:
    """One class: after how many `days` it goes (None: never), how much `went`, and how much of that age `stays` because it is needed."""

    what: str
    days: int | None
    went: int
    stays: int


@dataclass(frozen=True)
class Enforced:
    """What one look came to."""

    tenant: str
    held: bool
    classes: Mapping[str, Row]

    @property
    def went(self) -> int:
        return sum(row.went for row in self.classes.values())


def enforce(resources: Resources, tenant: str) -> Enforced:
    """Let go what is old enough. Safe to repeat, and beside a stream that runs."""
    session, on_hold = resources.session(tenant), held(resources, tenant)
    days = _days(session.policy.retention)
    went = dict.fromkeys(CLASSES, 0)
    try:
        for name in () if on_hold else (name for name in CLASSES if days[name]):
            for gone in _batches(resources, session, name, days[name] or 0):
                went[name] += gone
    finally:
        if any(went.values()):
            audit.note(resources, "retention", tenant, "done", {name: count for name, count in went.items() if count})
    stays = _old_enough(session, days)
    return Enforced(tenant, on_hold, {name: Row(CLASSES[name], days[name], went[name], stays[name]) for name in CLASSES})


def _days(retention: Retention) -> dict[str, int | None]:
    return {name: getattr(retention, f"{name}_days") for name in CLASSES}


def _batches(resources: Resources, session: Session, name: str, days: int) -> Iterator[int]:
    """How many went, a transaction at a time, until none is left."""
    if stage := _NEEDED_BY.get(name):
        step = registry.step(stage, resources, session.policy, session.keys.epoch)
        values = {"days": days, "limit": BATCH, "fingerprint": step.fingerprint}
        yield from _repeated(session, lambda connection: _drop(connection, name, values))
    else:
        yield from _repeated(session, lambda connection: connection.execute(_SQL[name], {"days": days, "limit": BATCH}).rowcount)


_NEEDED_BY = {"landed": "parse", "parsed": "redact"}
"""The stage that reads what this class holds. What that stage would do anew by now, it has still to read."""
_STAGE = {"landed": "land", "parsed": "parse"}


def _repeated(session: Session, some: Callable[[Connection], int]) -> Iterator[int]:
    while True:
        with session.transaction() as connection:
            gone = some(connection)
        yield gone
        if gone < BATCH:
            return


def _drop(connection: Connection, name: str, values: Mapping[str, Any]) -> int:
    found = _documents(connection, name, values, None)
    ledger.lock(connection, found)
    # asked again under the lock: it may have landed anew in between
    still = _documents(connection, name, values, found)
    connection.execute(_SQL["drop"], {"stage": _STAGE[name], "documents": still})
    return len(still)


def _documents(connection: Connection, name: str, values: Mapping[str, Any], of: list[str] | None) -> list[str]:
    return [row["document"] for row in connection.execute(_SQL[name], {**values, "documents": of})]


def _old_enough(session: Session, days: Mapping[str, int | None]) -> dict[str, int]:
    with session.transaction() as connection:
        return dict(connection.execute(_SQL["held_back"], {f"{name}_days": of for name, of in days.items()}).fetchall()[0])


_SQL = statements("pipelines.governance", "sql/retention.sql")
