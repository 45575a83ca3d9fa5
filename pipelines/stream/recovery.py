"""Recovery: documents that no event will start. A dead process left them, they wait and are due, were replayed, or are outdated.

The ledger knows them; the stream asks it here, for the partitions that it owns.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from core.ledger.stage import Session
from core.policy import Policy
from core.sql import statements
from pipelines.resources import Resources
from pipelines.stages import registry

PAGE = 256
"""Documents found at a time."""


_Settings = tuple[Policy, int]
"""A tenant's policy, and the epoch of its surrogate key: the rest of its fingerprints is the same as long as this process lives."""


@dataclass
class Recovery:
    """The search of one process. Each call of `find` returns at most two pages of documents that are not in flight already."""

    resources: Resources
    _read: dict[str, tuple[_Settings, frozenset[int], str | None]] = field(default_factory=dict)

    def find(self, session: Session, partitions: Collection[int], in_flight: Collection[str]) -> tuple[str, ...]:
        """The tenant's documents of these partitions that have to run."""
        values = {"partitions": list(partitions), "limit": PAGE}
        found = _documents(session, "unfinished", **values, in_flight=list(in_flight), last=registry.NAMES[-1])
        return (*found, *self._outdated(session, frozenset(partitions)))

    def _outdated(self, session: Session, partitions: frozenset[int]) -> list[str]:
        """Once through the documents of these partitions, a page a call: the last process may have had other fingerprints. And again
        whenever the tenant's policy or surrogate key changes."""
        settings = session.policy, session.keys.epoch
        known, before, after = self._read.get(session.tenant, (settings, frozenset[int](), ""))
        if known != settings or not partitions <= before:
            after = ""
        if after is None:
            return []
        steps = [registry.step(name, self.resources, session.policy, session.keys.epoch) for name in registry.NAMES]
        current = {"stages": [step.stage for step in steps], "fingerprints": [step.fingerprint for step in steps]}
        page = _documents(session, "outdated", **current, partitions=list(partitions), after=after, limit=PAGE)
        self._read[session.tenant] = settings, partitions, page[-1] if len(page) == PAGE else None
        return page


def has_unpublished(session: Session) -> bool:
    """Whether outcomes are decided and not published."""
    with session.transaction() as connection:
        return bool(connection.execute(_SQL["unpublished"]).fetchall()[0]["found"])


def _documents(session: Session, name: str, **values: Any) -> list[str]:
    with session.transaction() as connection:
        return [row["document"] for row in connection.execute(_SQL[name], values)]


_SQL = statements("pipelines.stream", "sql/recovery.sql")
