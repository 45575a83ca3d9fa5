"""What no event will start: documents that a process left when it died, that wait and are due, that were replayed, or whose stages have
another fingerprint now. The ledger knows them; here the stream asks it, for the partitions that are its own.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from core.ledger.stage import Session
from core.sql import statements
from pipelines.app import Headrace
from pipelines.governance.surrogate_keys import settle
from pipelines.stages.registry import NAMES

PAGE = 256
"""Documents found at a time."""


@dataclass
class Leftover:
    """The search for one process. `find` is asked again and again; each call gives at most two pages, of what is not `held` already."""

    headrace: Headrace
    _read: dict[str, tuple[frozenset[int], str | None]] = field(default_factory=dict)

    def find(self, session: Session, partitions: Collection[int], held: Collection[str]) -> tuple[str, ...]:
        """The tenant's documents to run, of these partitions. A rotation that nobody's document will end is ended."""
        if session.keys.former:
            settle(self.headrace, session)
        values = {"partitions": list(partitions), "limit": PAGE}
        found = _documents(session, "left_over", **values, held=list(held), last=NAMES[-1])
        return (*found, *self._outdated(session, frozenset(partitions)))

    def _outdated(self, session: Session, partitions: frozenset[int]) -> list[str]:
        """Once through the documents of these partitions, a page at a call: the last process may have had other stages."""
        before, after = self._read.get(session.tenant, (frozenset[int](), ""))
        if not partitions <= before:
            after = ""
        if after is None:
            return []
        stages = [self.headrace.way.stage(name, session.policy, session.keys.epoch).step for name in NAMES]
        current = {"stages": [step.stage for step in stages], "fingerprints": [step.fingerprint for step in stages]}
        page = _documents(session, "outdated", **current, partitions=list(partitions), after=after, limit=PAGE)
        self._read[session.tenant] = partitions, page[-1] if len(page) == PAGE else None
        return page


def untold(session: Session) -> bool:
    """Whether outcomes are decided and not published."""
    with session.transaction() as connection:
        return bool(connection.execute(_sql("untold")).fetchall()[0]["found"])


def _documents(session: Session, name: str, **values: Any) -> list[str]:
    with session.transaction() as connection:
        return [row["document"] for row in connection.execute(_sql(name), values)]


def _sql(name: str) -> Any:
    return statements("pipelines.stream", "sql/recovery.sql")[name]
