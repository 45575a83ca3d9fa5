"""What a stage has in hand, so that a document which kills its process is found, and its neighbours go on.

A process that dies cannot say what it died of. So a stage notes what it takes, in the transaction that takes it, and the note goes with
what settles the document. Notes whose worker is dead name the suspects: those are taken half as many at a time as before, and never
together with others, until each stands by itself. Then it is tried with nothing beside it in the whole process (`core.ledger.exclusive`),
for
another thread's document may have been the one. `TRIALS` deaths in such a trial are no accident any more.

A worker is dead when its session in Postgres has ended (`core.ledger.presence`), so that two who have the same document in hand suspect
nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.ledger.ledger import Hand, Stale, Step
from core.sql import statements
from core.tenancy import Connection

TRIALS = 4
"""A document that was alone in its process when this many died is not tried again until it is replayed or changes."""


@dataclass(frozen=True)
class Taken:
    """What a worker may settle now.

    `trial`: a suspect by itself. `condemned`: one that is not to be computed any more. `whole`: nothing else was found stale.
    """

    rows: Sequence[Stale]
    trial: bool = False
    condemned: bool = False
    whole: bool = True


def take(connection: Connection, step: Step, found: Sequence[Stale], worker: int, *, alone: bool) -> Taken:
    """Choose among stale documents and note that this worker has them in hand. A trial is only noted by who is `alone` in its process."""
    taken = choose(found, _dead(connection, found, worker))
    if taken.rows and (alone or not taken.trial):
        hands = [row.hand or _NEVER for row in taken.rows]
        values = {"documents": [row.document for row in taken.rows], "company": len(taken.rows), "worker": worker, "stage": step.stage}
        values |= {"deaths": [hand.deaths for hand in hands], "trials": [hand.trials + taken.trial for hand in hands]}
        connection.execute(_sql("take"), values)
    return taken


def put_down(connection: Connection, step: Step, documents: Collection[str], worker: int) -> None:
    """This worker lets go of what it did not settle; it is alive, and nothing is suspected."""
    connection.execute(_sql("put_down"), {"stage": step.stage, "documents": list(documents), "worker": worker})


def choose(found: Sequence[Stale], dead: Collection[int]) -> Taken:
    """Those that no process died with, else so many as may be tried together of those suspected least."""
    known = [replace(row, hand=_after(row.hand, dead)) for row in found]
    trusted = [row for row in known if not (row.hand and row.hand.deaths)]
    if trusted or not known:
        return Taken(trusted, whole=len(trusted) == len(known))
    company = max(row.hand.company for row in known if row.hand)
    suspects = [row for row in known if row.hand and row.hand.company == company][:company]
    trial = company == 1
    return Taken(suspects, trial, trial and all(_is_condemned(row, dead) for row in suspects), len(suspects) == len(known))


def _is_condemned(row: Stale, dead: Collection[int]) -> bool:
    # a delete is tried for as long as it takes: nobody may go on finding what it deletes
    return row.hand is not None and row.hand.trials >= TRIALS and row.hand.worker in dead and not row.deleted


def _after(hand: Hand | None, dead: Collection[int]) -> Hand | None:
    """What is known of a document by now; `company` is then how many may be tried together with it."""
    if hand is None or hand.worker not in dead:
        return hand
    return replace(hand, company=max(1, hand.company // 2), deaths=hand.deaths + 1)


def _dead(connection: Connection, found: Sequence[Stale], worker: int) -> set[int]:
    others = {row.hand.worker for row in found if row.hand} - {worker}
    return others - {row["worker"] for row in connection.execute(_sql("living"))} if others else set()


_NEVER = Hand(worker=0, company=1, deaths=0, trials=0)


def _sql(name: str) -> Any:
    return statements("core.ledger", "sql/claims.sql")[name]
