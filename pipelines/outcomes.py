"""The relay: what was decided goes from the outbox in Postgres to `outcomes.<tenant>`, at least once and in order per document.

Ids that carry personal data are redacted on the way out: a topic is at rest. By partition and offset a source knows its event all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from core import crashpoints, outcomes
from core.config import Endpoints
from core.errors import HeadraceError
from core.policy import Privacy
from core.stage import Session
from core.tenancy import Connection
from events.outcomes import Outcome, OutcomeProducer

if TYPE_CHECKING:
    from privacy import Redactor

Hide = Callable[[str], str]
"""An id as others may see it."""

BATCH = 500
_LOG = logging.getLogger("headrace.outcomes")


class Outbox:
    """The outboxes of all tenants, as one process empties them."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._producer = OutcomeProducer(endpoints.kafka_client())
        self._troubles: dict[str, str] = {}
        self._redactors: dict[Privacy, Redactor] = {}

    def empty(self, session: Session) -> int:
        """Publish what is decided of a tenant's events; gives the number.

        Never raises a HeadraceError: what could not be published stays, the reason is logged once, and the next call tries again.
        """
        try:
            told = self._relay(session)
        except HeadraceError as error:
            if self._troubles.get(session.tenant) != error.reason:
                _LOG.warning("the outcomes of %s are not published: %s", session.tenant, error)
            self._troubles[session.tenant] = error.reason
            return 0
        self._troubles.pop(session.tenant, None)
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

        def hide(text: str) -> str:
            from privacy import Redactor, redact_id

            wanted = session.policy.privacy
            if wanted not in self._redactors:
                self._redactors[wanted] = Redactor(wanted.model_copy(update={"names_model": None}))
            return redact_id(text, self._redactors[wanted], session.keys)

        return hide


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
    key = None if subject.key is None else hide(subject.key.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
    return key, Outcome(
        event=None if subject.event is None else hide(subject.event),
        document=_text(key),
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


def _text(key: bytes | None) -> str | None:
    try:
        return None if key is None else key.decode()
    except UnicodeDecodeError:
        return None
