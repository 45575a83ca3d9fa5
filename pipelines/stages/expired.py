"""What a stage does where retention let its input go (`pipelines.governance.retention`): it asks for it again, or fails with a reason of
its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.ledger import ledger
from core.ledger.stage import Session
from core.sql import statements


def contents(session: Session, documents: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Of live documents whose content came with their event: reason and detail for each whose content is not there any more."""
    if not documents:
        return {}
    with session.transaction() as connection:
        rows = connection.execute(_SQL["without_content"], {"documents": list(documents)}).fetchall()
    reason = "content-expired"
    return {row["document"]: (reason, "retention let its content go; publish it again") for row in rows}


def parse_again(session: Session, documents: Sequence[str]) -> dict[str, int]:
    """Make those stale for parsing whose parsed artifact was let go, so that it is there for whoever needs it now.

    Gives their number, as a tally has it; nothing where there are none.
    """
    if not documents:
        return {}
    with session.transaction() as connection:
        ledger.lock(connection, documents)
        again = connection.execute(_SQL["parse_again"], {"documents": list(documents)}).rowcount
    return {"parse_again": again} if again else {}


_SQL = statements("pipelines.stages", "sql/expired.sql")
