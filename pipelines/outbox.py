"""The relay: what was decided goes from the outbox in Postgres to `outcomes.<tenant>`, at least once and in order per document.

Ids that carry personal data are redacted on the way out: a topic is at rest. By partition and offset a source knows its event all the same.
Such a document's outcomes stand under a digest of its id: in order, whatever its surrogate is by then, and with `mask` apart from others'.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from core import crashpoints, outcomes
from core.config import Endpoints
from core.errors import HeadraceError
from core.ledger.stage import Session
from core.policy import Privacy
from core.tenancy import Connection
from events.outcomes import Outcome, OutcomeProducer

if TYPE_CHECKING:
    from privacy import Redactor

Hide = Callable[[str], str]
"""An id as others may see it."""

BATCH = 500
REDACTORS = 32
"""How many of the ways in which tenants want ids hidden are kept ready."""
_LOG = logging.getLogger("headrace.outcomes")


class Outbox:
    """The outboxes of all tenants, as one process empties them."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._producer = OutcomeProducer(endpoints.kafka_client())
        self._errors: dict[str, str] = {}
        self._redactor = lru_cache(REDACTORS)(_redactor)

    def publish(self, session: Session) -> int:
        """Publish the decided outcomes of a tenant's events. Returns their number.

        Never raises a HeadraceError: what could not be published stays, the reason is logged once, and the next call tries again.
        """
        try:
            told = self._relay(session)
        except HeadraceError as error:
            if self._errors.get(session.tenant) != error.reason:
                _LOG.warning("the outcomes of %s are not published: %s", session.tenant, error)
            self._errors[session.tenant] = error.reason
            return 0
        self._errors.pop(session.tenant, None)
        return told

    def _relay(self, session: Session) -> int:
        total = 0
        while True:
            with session.transaction() as connection:
                told = deliver(connection, session, self._producer, self._hider(session))
            if told:
                crashpoints.reached("outcome:after-commit")
            total += told
            if told < BATCH:
                return total

    def _hider(self, session: Session) -> Hide:
        """Ids are read without a names model, whatever the profile: none of their kind is looked for with one."""
        wanted = session.policy.privacy.model_copy(update={"names_model": None})

        def hide(text: str) -> str:
            from privacy import redact_id

            return redact_id(text, self._redactor(wanted), session.keys)

        return hide


def _redactor(privacy: Privacy) -> Redactor:
    from privacy import Redactor

    return Redactor(privacy)


def deliver(connection: Connection, session: Session, producer: OutcomeProducer, hide: Hide) -> int:
    """Publish the oldest and forget them, in the caller's transaction: where that does not commit, they are published again."""
    rows = outcomes.undelivered(connection, BATCH)
    if rows:
        producer.publish(session.tenant, [_record(session, row, hide) for row in rows])
        crashpoints.reached("outcome:published")
        outcomes.delivered(connection, rows)
    return len(rows)


def _record(session: Session, row: dict[str, Any], hide: Hide) -> tuple[bytes | None, Outcome]:
    subject = outcomes.unseal(session.keys, row)
    key, document = _document(session, subject.key, hide)
    return key, Outcome(
        event=None if subject.event is None else hide(subject.event),
        document=document,
        operation=row["operation"],
        sequence=row["sequence"],
        outcome=row["outcome"],
        reason=row["reason"],
        partition=row["kafka_partition"],
        offset=row["kafka_offset"],
        time=row["event_time"],
        received_at=row["received_at"],
        landed_at=row["landed_at"],
        decided_at=row["decided_at"],
        latency_s=round((row["decided_at"] - row["received_at"]).total_seconds(), 6),
    )


def _document(session: Session, key: bytes | None, hide: Hide) -> tuple[bytes | None, str | None]:
    """The record's key, and the document id as it is told; None for what is no text."""
    if key is None:
        return None, None
    given = key.decode("utf-8", "surrogateescape")
    told = hide(given)
    return key if told == given else session.keys.digest(key, "outcome").encode(), _text(told)


def _text(told: str) -> str | None:
    try:
        told.encode()
    except UnicodeEncodeError:
        return None
    return told
