"""What waits for a lane of the stream: documents' keys by tenant, and whose turn it is. No thread, no server, no clock of its own."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

LARGEST = 64
"""Documents in a turn at most: as many as a stage takes at a time."""

LEAST_ALONE, LEAST = 8, 4
"""Documents in a turn at least, where so many wait: alone, and where other tenants wait too. A turn's own cost (transactions, a lone text
for a model that likes several) is that of some documents: without this, slow documents would go one by one, and slower for it."""


@dataclass(frozen=True)
class Turn:
    """One tenant's documents for one pass through a lane, the oldest first."""

    tenant: str
    documents: tuple[str, ...]


class Backlog:
    """Tenants take turns, however much one of them has; a document waits once. A turn is as long as `target_s` by what turns took before.

    So a turn is one document where there is one, grows with what waits, and stays short where documents are slow.
    """

    def __init__(self, target_s: float) -> None:
        self._target_s = target_s
        self._waiting: dict[str, dict[str, None]] = {}
        self._pace: dict[str, float] = {}

    def __len__(self) -> int:
        """Documents of all tenants."""
        return sum(map(len, self._waiting.values()))

    def add(self, tenant: str, documents: Iterable[str]) -> None:
        """Behind what waits already; a tenant that had nothing waiting comes last in the round."""
        fresh = dict.fromkeys(documents)
        if fresh:
            self._waiting[tenant] = self._waiting.get(tenant, {}) | fresh

    def take(self, but: Collection[str] = ()) -> Turn | None:
        """The next tenant's turn, of those that are not `but` these; that tenant then comes last. None where none of them waits."""
        tenant = next((tenant for tenant in self._waiting if tenant not in but), None)
        if tenant is None:
            return None
        documents = self._waiting.pop(tenant)
        taken = tuple(documents)[: self._size(tenant)]
        self.add(tenant, tuple(documents)[len(taken) :])
        return Turn(tenant, taken)

    def took(self, turn: Turn, seconds: float) -> None:
        """How long a turn was: the next ones of this tenant are made to fit."""
        pace, before = seconds / len(turn.documents), self._pace.get(turn.tenant)
        self._pace[turn.tenant] = pace if before is None else (before + pace) / 2

    def waiting(self, tenant: str) -> tuple[str, ...]:
        """The documents of one tenant."""
        return tuple(self._waiting.get(tenant, ()))

    def counts(self) -> dict[str, int]:
        """Documents by tenant."""
        return {tenant: len(documents) for tenant, documents in self._waiting.items()}

    def _size(self, tenant: str) -> int:
        pace, least = self._pace.get(tenant), LEAST if self._waiting else LEAST_ALONE
        return LARGEST if not pace else min(LARGEST, max(least, round(self._target_s / pace)))
