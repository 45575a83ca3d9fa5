"""A tenant's canary queries: the questions that two generations are compared on, and that the check `retrieval_quality` asks.

They are stored redacted, as the documents are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from psycopg.types.json import Jsonb

from core.errors import HeadraceError
from core.ledger.stage import Session
from core.records import convert
from core.sql import statements
from core.tenancy import Connection
from pipelines.resources import Resources

MOST = 1_000


class Canary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A query, and the grades of documents that answer it: higher is better, 0 is no answer. By document id; once stored, by key."""

    query: str
    judgements: dict[str, float] = {}


class Stored(msgspec.Struct, frozen=True):
    """A stored query, redacted; the judgements by document key. `keyed`: it has surrogates, which a new surrogate key makes meaningless.

    `baseline`: what it reached when it was kept, search mode → nDCG@10.
    """

    query: str
    judgements: dict[str, float]
    keyed: bool
    baseline: dict[str, float] = {}


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

    session = resources.session(tenant)
    by_key = [{document_key(name, session.keys): grade for name, grade in canary.judgements.items()} for canary in canaries]
    texts = redacted(resources, session, [canary.query for canary in canaries])
    rows = [Stored(text, judged, text != canary.query) for text, judged, canary in zip(texts, by_key, canaries, strict=True)]
    return store(session, rows)


def redacted(resources: Resources, session: Session, queries: Sequence[str]) -> list[str]:
    """The queries as the tenant's documents have their texts."""
    from privacy import redact_text

    redactor = resources.models.redactor(session.policy.privacy)
    return [redact_text(query, redactor, session.keys) for query in queries]


def store(session: Session, queries: Iterable[Stored]) -> int:
    """As `replace`, with redacted queries and judgements by key; of those with one text the last."""
    rows = {one.query: msgspec.to_builtins(one) for one in queries}
    with session.transaction() as connection:
        connection.execute(_SQL["clear"])
        connection.execute(_SQL["add"], {"canaries": Jsonb(list(rows.values()))})
    return len(rows)


def record(session: Session, baselines: Mapping[str, Mapping[str, float]]) -> None:
    """Keep what stored queries reached: their text → search mode → nDCG@10."""
    rows = [{"query": query, "baseline": dict(reached)} for query, reached in baselines.items()]
    with session.transaction() as connection:
        connection.execute(_SQL["record"], {"baselines": Jsonb(rows)})


def stored(connection: Connection) -> list[Stored]:
    """The tenant's queries, by text."""
    return [convert(row, Stored) for row in connection.execute(_SQL["stored"])]


def count(session: Session) -> int:
    with session.transaction() as connection:
        return int(connection.execute(_SQL["count"]).fetchall()[0]["queries"])


_SQL = statements("pipelines.operations", "sql/canaries.sql")
