"""Claims: which process works on which document, so that a document that crashes its process is found and its neighbours go on.

A process that crashes cannot say which document it crashed on. So a stage records its claims in the transaction that takes the
documents, and the commit of the result deletes them. The claims of dead processes name the suspects. Suspects are claimed half as many
at a time as before, never together with other documents, until each is claimed alone. Then it is attempted with nothing else running
in the whole process (`core.exclusive`), because another thread's document may be the culprit. A document that was alone in
`SOLO_ATTEMPTS` crashed processes is poisoned.

A process is dead when its session in Postgres has ended (`core.presence`), so two live processes that claimed the same document
raise no suspicion.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from core.ledger.ledger import Claim, Stale, Step
from core.presence import living
from core.sql import statements
from core.tenancy import Connection

SOLO_ATTEMPTS = 4
"""A document that was alone in this many crashed processes is not attempted again until it is replayed or changes."""


@dataclass(frozen=True)
class Claimed:
    """The documents that a process may work on now.

    `solo`: one suspect that has to be attempted alone. `poisoned`: one that must not be computed again. `complete`: nothing else was
    found stale.
    """

    rows: Sequence[Stale]
    solo: bool = False
    poisoned: bool = False
    complete: bool = True


def claim(connection: Connection, step: Step, found: Sequence[Stale], process: int, *, exclusive: bool) -> Claimed:
    """Choose among stale documents and record this process's claims.

    A solo attempt is recorded only by a caller that is `exclusive` in its process; any other caller has to ask again.
    """
    claimed = choose(found, _dead(connection, found, process))
    if claimed.rows and (exclusive or not claimed.solo):
        before = [row.claim or _UNCLAIMED for row in claimed.rows]
        values = {"documents": [row.document for row in claimed.rows], "process": process, "stage": step.stage}
        values |= {"batch_size": len(claimed.rows), "crashes": [known.crashes for known in before]}
        values |= {"solo_attempts": [known.solo_attempts + claimed.solo for known in before]}
        connection.execute(_SQL["claim"], values)
    return claimed


def release(connection: Connection, step: Step, documents: Collection[str], process: int) -> None:
    """Give up this process's claims on documents that it did not finish. The process is alive, so they raise no suspicion."""
    connection.execute(_SQL["release"], {"stage": step.stage, "documents": list(documents), "process": process})


def choose(found: Sequence[Stale], dead: Collection[int]) -> Claimed:
    """The documents without crashes, if any; else one batch of those that were claimed in the largest batches, the least suspected."""
    known = [replace(row, claim=_updated(row.claim, dead)) for row in found]
    trusted = [row for row in known if not (row.claim and row.claim.crashes)]
    if trusted or not known:
        return Claimed(trusted, complete=len(trusted) == len(known))
    batch_size = max(row.claim.batch_size for row in known if row.claim)
    suspects = [row for row in known if row.claim and row.claim.batch_size == batch_size][:batch_size]
    solo = batch_size == 1
    return Claimed(suspects, solo, solo and all(_is_poisoned(row, dead) for row in suspects), len(suspects) == len(known))


def _is_poisoned(row: Stale, dead: Collection[int]) -> bool:
    # deletes are never poisoned: their documents must leave the index
    return row.claim is not None and row.claim.solo_attempts >= SOLO_ATTEMPTS and row.claim.process in dead and not row.deleted


def _updated(claim: Claim | None, dead: Collection[int]) -> Claim | None:
    """A claim as of now: if its process is dead, one more crash, and `batch_size` is how many may be attempted together."""
    if claim is None or claim.process not in dead:
        return claim
    return replace(claim, batch_size=max(1, claim.batch_size // 2), crashes=claim.crashes + 1)


def _dead(connection: Connection, found: Sequence[Stale], process: int) -> set[int]:
    others = {row.claim.process for row in found if row.claim} - {process}
    return others - living(connection) if others else set()


_UNCLAIMED = Claim(process=0, batch_size=1, crashes=0, solo_attempts=0)
_SQL = statements("core.ledger", "sql/claims.sql")
