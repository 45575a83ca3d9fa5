"""A tenant's canary queries: the questions that two generations are compared on. They are stored redacted, as the documents are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from psycopg.types.json import Jsonb

from core.errors import HeadraceError
from core.ledger.stage import Session
from core.sql import statements
from core.tenancy import Connection
from pipelines.resources import Resources

MOST = 1_000


class Canary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A query, and the grades of documents that answer it: higher is better, 0 is no answer. By document id; once stored, by key."""

    query: str
    judgements: dict[str, float] = {}


def parse(lines: Iterable[str]) -> list[Canary]:
    """One JSON object a line: `{"query": …, "judgements": {document id: grade}}`. Raises HeadraceError `bad-queries`, with the line."""
    found = [_parsed(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if len(found) > MOST:
        raise _bad(f"at most {MOST} queries, were: {len(found)}")
    return found


def _parsed(number: int, line: str) -> Canary:
    try:
        canary = msgspec.json.decode(line, type=Canary)
    except (msgspec.DecodeError, UnicodeError):
        # the message of the decoder may repeat the line, which may be personal
        raise _bad(f"line {number} is no such object") from None
    if not canary.query.strip():
        raise _bad(f"line {number} has no query")
    return canary


def _bad(detail: str) -> HeadraceError:
    remedy = 'Each line is a JSON object: {"query": "…", "judgements": {"a document\'s id": 2}}; the judgements are optional.'
    return HeadraceError(detail, reason="bad-queries", remedy=remedy)


def replace(resources: Resources, tenant: str, canaries: Sequence[Canary]) -> int:
    """Store these queries in place of those that the tenant had. Returns their number; queries that are alike once redacted are one."""
    from events.digests import document_key
    from privacy import redact_text

    session = resources.session(tenant)
    redactor = resources.models.redactor(session.policy.privacy)
    stored: dict[str, dict[str, object]] = {}
    for canary in canaries:
        query = redact_text(canary.query, redactor, session.keys)
        judgements = {document_key(name, session.keys): grade for name, grade in canary.judgements.items()}
        stored[query] = {"query": query, "judgements": judgements, "keyed": query != canary.query}
    with session.transaction() as connection:
        connection.execute(_SQL["clear"])
        connection.execute(_SQL["add"], {"canaries": Jsonb(list(stored.values()))})
    return len(stored)


def stored(connection: Connection) -> list[Canary]:
    """The tenant's queries, redacted; the judgements by document key."""
    return [Canary(row["query"], row["judgements"]) for row in connection.execute(_SQL["stored"])]


def count(session: Session) -> int:
    with session.transaction() as connection:
        return int(connection.execute(_SQL["count"]).fetchall()[0]["queries"])


_SQL = statements("pipelines.operations", "sql/canaries.sql")
