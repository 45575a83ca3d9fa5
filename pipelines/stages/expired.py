"""Inputs that retention deleted (`pipelines.governance.retention`): a stage requests them again, or fails with a reason of its own."""

from __future__ import annotations

from collections.abc import Sequence

from core.ledger import ledger
from core.ledger.stage import Session
from core.sql import statements


def contents(session: Session, documents: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Failures of live documents whose content came with their event and was deleted since."""
    if not documents:
        return {}
    with session.transaction() as connection:
        rows = connection.execute(_SQL["without_content"], {"documents": list(documents)}).fetchall()
    reason = "content-expired"
    return {row["document"]: (reason, "retention deleted its content; publish it again") for row in rows}


def parse_again(session: Session, documents: Sequence[str]) -> dict[str, int]:
    """Make documents whose parsed artifact was deleted stale for parsing. Returns their number as a tally, empty if there are none."""
    if not documents:
        return {}
    with session.transaction() as connection:
        ledger.lock(connection, documents)
        again = connection.execute(_SQL["parse_again"], {"documents": list(documents)}).rowcount
    return {"parse_again": again} if again else {}


_SQL = statements("pipelines.stages", "sql/expired.sql")
