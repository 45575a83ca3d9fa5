"""The backlog of a lane: document keys by tenant, and which tenant's batch is next. No thread, no server, no clock of its own."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

LARGEST = 64
"""Documents in a batch at most: as many as a stage takes at a time."""

SMALLEST_ALONE, SMALLEST = 8, 4
"""Documents in a batch at least, if as many wait: for the only tenant, and if other tenants wait too. The fixed cost of a batch
(transactions, a single text for a model that prefers several) is that of some documents: without this, slow documents would go one by
one, and slower for it."""


@dataclass(frozen=True)
class Batch:
    """One tenant's documents for one pass through a lane, the oldest first."""

    tenant: str
    documents: tuple[str, ...]


class Backlog:
    """Serves tenants round-robin, however much one of them has; a document waits once.

    A batch is sized to last `target_s` by the duration of the tenant's earlier batches. So it is one document if one waits, grows with
    what waits, and stays short if documents are slow.
    """

    def __init__(self, target_s: float) -> None:
        self._target_s = target_s
        self._waiting: dict[str, dict[str, None]] = {}
        self._seconds_each: dict[str, float] = {}

    def __len__(self) -> int:
        """Documents of all tenants."""
        return sum(map(len, self._waiting.values()))

    def add(self, tenant: str, documents: Iterable[str]) -> None:
        """Append documents; a tenant that had none waiting comes last in the round."""
        fresh = dict.fromkeys(documents)
        if fresh:
            self._waiting[tenant] = self._waiting.get(tenant, {}) | fresh

    def take(self, without: Collection[str] = ()) -> Batch | None:
        """The next tenant's batch, of the tenants that are not in `without`; that tenant then comes last. None if none of them waits."""
        tenant = next((tenant for tenant in self._waiting if tenant not in without), None)
        if tenant is None:
            return None
        documents = self._waiting.pop(tenant)
        taken = tuple(documents)[: self._size(tenant)]
        self.add(tenant, tuple(documents)[len(taken) :])
        return Batch(tenant, taken)

    def measured(self, batch: Batch, seconds: float) -> None:
        """Note the duration of a batch: the tenant's next ones are sized by it."""
        each, before = seconds / len(batch.documents), self._seconds_each.get(batch.tenant)
        self._seconds_each[batch.tenant] = each if before is None else (before + each) / 2

    def waiting(self, tenant: str) -> tuple[str, ...]:
        """The documents of one tenant."""
        return tuple(self._waiting.get(tenant, ()))

    def counts(self) -> dict[str, int]:
        """Documents by tenant."""
        return {tenant: len(documents) for tenant, documents in self._waiting.items()}

    def _size(self, tenant: str) -> int:
        each, smallest = self._seconds_each.get(tenant), SMALLEST if self._waiting else SMALLEST_ALONE
        return LARGEST if not each else min(LARGEST, max(smallest, round(self._target_s / each)))
