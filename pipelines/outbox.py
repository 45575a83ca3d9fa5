"""The relay of the transactional outbox: decided outcomes go from Postgres to `outcomes.<tenant>`, at least once and in order per document.

Ids with personal data are redacted, because a topic is data at rest; a source identifies its event by partition and offset. The record key
of such a document is a digest of its id: it keeps the order when the surrogate changes, and separates documents whose ids are masked alike.
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

RedactId = Callable[[str], str]
"""Redacts an id."""

BATCH = 500
CRASH_POINTS = crashpoints.declare("outcome:published", "outcome:after-commit")
"""Between Kafka's acknowledgement and the commit in Postgres; and after the commit."""

REDACTORS = 32
"""The number of redactors kept, one per distinct privacy policy."""
_LOG = logging.getLogger("headrace.outcomes")


class Outbox:
    """Publishes the outboxes of all tenants, for one process."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._producer = OutcomeProducer(endpoints.kafka_client())
        self._errors: dict[str, str] = {}
        self._redactor = lru_cache(REDACTORS)(_redactor)

    def publish(self, session: Session) -> int:
        """Publish the decided outcomes of a tenant's events. Returns their number.

        Never raises HeadraceError: if publishing fails, the outcomes stay, the reason is logged once, and the next call retries.
        """
        try:
            published = self._relay(session)
        except HeadraceError as error:
            if self._errors.get(session.tenant) != error.reason:
                _LOG.warning("the outcomes of %s are not published: %s", session.tenant, error)
            self._errors[session.tenant] = error.reason
            return 0
        self._errors.pop(session.tenant, None)
        return published

    def is_failing(self, tenant: str) -> bool:
        """Whether the tenant's outcomes could not be published the last time."""
        return tenant in self._errors

    def _relay(self, session: Session) -> int:
        total = 0
        while True:
            with session.transaction() as connection:
                published = deliver(connection, session, self._producer, self._redaction(session))
            if published:
                crashpoints.reached("outcome:after-commit")
            total += published
            if published < BATCH:
                return total

    def _redaction(self, session: Session) -> RedactId:
        """Ids are redacted without a names model, whatever the profile: what takes a model is not searched for in ids."""
        privacy = session.policy.privacy.model_copy(update={"names_model": None})

        def redact(text: str) -> str:
            from privacy import redact_id

            return redact_id(text, self._redactor(privacy), session.keys)

        return redact


def _redactor(privacy: Privacy) -> Redactor:
    from privacy import Redactor

    return Redactor(privacy)


def deliver(connection: Connection, session: Session, producer: OutcomeProducer, redact: RedactId) -> int:
    """Publish the oldest outcomes and delete them, in the caller's transaction: if it does not commit, they are published again."""
    rows = outcomes.undelivered(connection, BATCH)
    if rows:
        producer.publish(session.tenant, [_record(session, row, redact) for row in rows])
        crashpoints.reached("outcome:published")
        outcomes.delivered(connection, rows)
    return len(rows)


def _record(session: Session, row: dict[str, Any], redact: RedactId) -> tuple[bytes | None, Outcome]:
    subject = outcomes.unseal(session.keys, row)
    key, document = _document(session, subject.key, redact)
    return key, Outcome(
        event=None if subject.event is None else redact(subject.event),
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


def _document(session: Session, key: bytes | None, redact: RedactId) -> tuple[bytes | None, str | None]:
    """The record's key, and the redacted document id; None if the id is not text."""
    if key is None:
        return None, None
    given = key.decode("utf-8", "surrogateescape")
    redacted = redact(given)
    return key if redacted == given else session.keys.digest(key, "outcome").encode(), _text(redacted)


def _text(redacted: str) -> str | None:
    try:
        redacted.encode()
    except UnicodeEncodeError:
        return None
    return redacted
