"""Landing: one transaction turns a batch of records into documents' newest states and moves the position.

`events.fencing.fold` decides about one event of one document; `land` applies a batch under the tenant's role. Landing writes the dead
letters of its own refusals; `core.ledger.stage` writes those of later stages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from msgspec.structs import asdict, replace

from core import access_lists, artifacts, envelopes, outcomes
from core.errors import LostRace
from core.fates import Fate
from core.keys import TenantKeys
from core.ledger import ledger
from core.ledger.ledger import DeadLetter
from core.records import Envelope, encode
from core.sql import statements
from core.tenancy import Connection
from events import children
from events.contract import Event, KafkaRecord, Rejected, read
from events.digests import canonical, canonical_key, content_key, document_key, former_keys
from events.fencing import ERASED, PARTITION_CHANGED, State, Verdict, fold
from events.kafka.batches import Batch
from events.positions import FROM_ZERO, Numbering, move


@dataclass
class Landed:
    """The result of a batch: counts of fates and reasons, and the keys of the documents that changed."""

    events: int = 0
    fates: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    documents: list[str] = field(default_factory=list)

    def add(self, other: Landed) -> None:
        self.events += other.events
        self.fates.update(other.fates)
        self.reasons.update(other.reasons)
        self.documents.extend(other.documents)


Fates = Mapping[tuple[int, int], tuple[str, str | None]]
"""Partition and running offset → fate and the open dead letter's reason, of events that were landed before."""


@dataclass
class _Fold:
    """A batch while it is folded: each document's state so far, the event that set it, and a row of every event.

    Offsets are running offsets (`events.positions`), so that they are unique in a partition; only the outcome, which the source reads, has
    the topic's own offset.
    """

    keys: TenantKeys
    states: dict[str, State]
    numbering: Numbering = FROM_ZERO
    former: Fates | None = None
    newest: dict[str, Event] = field(default_factory=dict)
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    landed: Landed = field(default_factory=Landed)

    def add(self, message: Event | Rejected, document: str | None) -> None:
        if isinstance(message, Event):
            self.take(message, document or "")
        else:
            self.refuse(message, document)

    def take(self, event: Event, document: str) -> None:
        before = self.states.get(document)
        verdict = self._verdict(event, before, propose(event, document, self.keys))
        if self._repeats(event, document, verdict.fate, verdict.reason):
            self._count(verdict.fate, verdict.reason)
            return
        if verdict.state and verdict.state is not before:
            self.states[document], self.newest[document] = verdict.state, event
        if verdict.reason:
            self._dead_letter(event, document, verdict.reason, verdict.detail)
        self._add_row(event, document, verdict.fate, verdict.reason)

    def _verdict(self, event: Event, before: State | None, proposed: State) -> Verdict:
        verdict = fold(before, proposed, self.numbering.topic_base)
        if verdict.reason == PARTITION_CHANGED and self._was_ordered(event):
            return Verdict("superseded", before)
        return verdict

    def _was_ordered(self, event: Event) -> bool:
        """Whether a replay's event was ordered when it landed first: then the state comes from an event that is newer."""
        if self.former is None:
            return False
        fate, _ = self.former.get((event.partition, self._running(event)), ("landed", None))
        return fate != "dead-lettered"

    def refuse(self, rejected: Rejected, document: str | None) -> None:
        if self._repeats(rejected, document, "dead-lettered", rejected.reason):
            self._count("dead-lettered", rejected.reason)
            return
        self._dead_letter(rejected, document, rejected.reason, rejected.detail)
        row = (rejected.partition, self._running(rejected), None, document, None, None, "dead-lettered", None, rejected.received)
        self.rows.append(
            (*row, rejected.reason, self._subject(rejected, None, rejected.key and canonical_key(rejected.key)), rejected.offset)
        )
        self._count("dead-lettered", rejected.reason)

    def _running(self, message: Event | Rejected) -> int:
        return self.numbering.base + message.offset

    def _dead_letter(self, message: Event | Rejected, document: str | None, reason: str, detail: str) -> None:
        self.letters.append(DeadLetter(message.partition, self._running(message), "land", document, reason, detail))

    def _repeats(self, message: Event | Rejected, document: str | None, fate: Fate, reason: str | None) -> bool:
        """Whether a replay's event has the same result as before, so that it is counted and not written."""
        if self.former is None or fate == "landed":
            return False
        place = message.partition, self._running(message)
        if place in self.former:
            before, open_reason = self.former[place]
            return before != "dead-lettered" or reason == open_reason
        # no row: the event was erased, and no row may come back; or it was skipped before landing could refuse it
        state = self.states.get(document or "")
        return fate != "dead-lettered" or (state is not None and state.state_key == ERASED)

    def _add_row(self, event: Event, document: str, fate: Fate, reason: str | None) -> None:
        event_key = self.keys.digest(event.event_id.encode(), "event")
        row = (event.partition, self._running(event), event_key, document, event.operation, event.sequence, fate, event.time)
        subject = self._subject(event, event.event_id, canonical(event.document_name).encode())
        self.rows.append((*row, event.received, reason, subject, event.offset))
        self._count(fate, reason)

    def _subject(self, message: Event | Rejected, event_id: str | None, key: bytes | None) -> bytes:
        return outcomes.seal(self.keys, outcomes.subject(event_id, key), message.partition, message.offset)

    def _count(self, fate: Fate, reason: str | None) -> None:
        self.landed.events += 1
        self.landed.fates[fate] += 1
        if reason:
            self.landed.reasons[reason] += 1


def propose(event: Event, document: str, keys: TenantKeys) -> State:
    """The state that an event asks for, before fencing. `document` is the document's key in Postgres."""
    content = _content(event)
    envelope = encode(_envelope(event))
    acl = encode(event.acl)
    body = b"deleted" if event.operation == "delete" else b"\0".join((content, envelope, acl))
    return State(
        document=document,
        revision=0,
        sequence=event.sequence,
        sequence_explicit=event.sequence_explicit,
        published=event.operation == "upsert",
        source_key=keys.digest(event.source.encode("utf-8", "surrogatepass"), "source") if event.source else "",
        state_key=keys.digest(body, "state"),
        content_key=content_key(keys, content, event.media_type or "", event.file_name or ""),
        envelope_key=envelopes.digest(keys, envelope),
        acl_key=keys.digest(acl, "acl"),
        deleted=event.operation == "delete",
        kafka_partition=event.partition,
        appended_at=event.appended_at,
    )


def _content(event: Event) -> bytes:
    """The bytes that identify the content in a digest.

    A reference without `content_sha256` may refer to other content at any time, so every new event with it is fetched again.
    """
    if event.content is not None:
        return b"inline\0" + event.content
    return f"uri\0{event.uri}\0{event.content_sha256 or event.sequence}".encode("utf-8", "surrogatepass")


def land(connection: Connection, keys: TenantKeys, batch: Batch, topic_id: str | None = None) -> Landed:
    """Land a batch: write its events, documents, contents and dead letters and move the position.

    `topic_id` is the id of the topic that the batch was read from, as in `events.positions.reconcile`.
    Raises LostRace if the position is no longer the batch's start, or another worker landed one of the documents meanwhile.
    """
    numbering = move(connection, batch, topic_id)
    return land_records(connection, keys, batch.records, numbering=numbering, first_read=True)


def land_records(
    connection: Connection,
    keys: TenantKeys,
    records: Sequence[KafkaRecord],
    former: Fates | None = None,
    *,
    numbering: Numbering = FROM_ZERO,
    first_read: bool = False,
) -> Landed:
    """Land records without moving the position, as a replay does. Fencing makes it safe to repeat.

    With `former`, an event whose result is the same as before is counted and not written. An event that landed before gets no second
    outcome; `first_read` says that none of the records did, whatever rows their offsets have. `numbering` is the position's.
    """
    messages = [_numbered(read(record), numbering.base) for record in records]
    documents = [_document_of(message, keys) for message in messages]
    others = {d: spelled for d, record in zip(documents, records, strict=True) if d and (spelled := _former_keys(record, keys))}
    fold_ = _Fold(keys, _known(connection, {document for document in documents if document}, others), numbering, former)
    for message, document in zip(messages, documents, strict=True):
        fold_.add(message, document)
    _write(connection, fold_, first_read=first_read)
    return fold_.landed


def _numbered(message: Event | Rejected, base: int) -> Event | Rejected:
    """Without an explicit sequence, the running offset is the sequence: a recreated topic starts at offset 0 again."""
    if base and isinstance(message, Event) and not message.sequence_explicit:
        return replace(message, sequence=base + message.offset)
    return message


def _document_of(message: Event | Rejected, keys: TenantKeys) -> str | None:
    if isinstance(message, Event):
        return document_key(message.document_name, keys)
    return keys.digest(canonical_key(message.key), "document") if message.key else None


def _former_keys(record: KafkaRecord, keys: TenantKeys) -> tuple[str, ...]:
    try:
        return former_keys((record.key or b"").decode(), keys)
    except UnicodeDecodeError:
        return ()


def _known(connection: Connection, documents: Collection[str], others: Mapping[str, Sequence[str]]) -> dict[str, State]:
    """The documents' states, locked. A document that has none takes that of a tombstone under another spelling of its id, in `others`.

    Ids of live documents are normalised (`pipelines.upgrade`); a tombstone does not have its id any more.
    """
    found = states(connection, sorted({*documents, *(key for spelled in others.values() for key in spelled)}))
    for document, spelled in others.items():
        tombstones = [found[key] for key in spelled if key in found and found[key].deleted]
        if document not in found and tombstones:
            found[document] = replace(max(tombstones, key=lambda state: state.sequence), document=document, revision=0)
    return found


def states(connection: Connection, documents: Sequence[str]) -> dict[str, State]:
    """Key → newest state, of these documents and the documents inside them. Locks them until the commit, against landings and stages."""
    rows = connection.execute(_SQL["states"], {"documents": list(documents)})
    return {row["document"]: State(**row) for row in rows}


def _write(connection: Connection, fold_: _Fold, *, first_read: bool) -> None:
    changed = sorted(fold_.newest)
    _upsert(connection, [_document_row(fold_, document) for document in changed])
    bodies = {d: event.content for d, event in fold_.newest.items() if event.content is not None}
    artifacts.put(connection, fold_.keys, "land", bodies)
    supersede(connection, [d for d in changed if fold_.states[d].revision], bodies)
    _record_events(connection, fold_.rows, first_read=first_read)
    ledger.dead_letter(connection, fold_.letters)
    fold_.landed.documents = changed


def supersede(connection: Connection, documents: list[str], bodies: Collection[str] = ()) -> None:
    """Invalidate what was computed from these documents' former states, and narrow access. New documents have no former state.

    `bodies`: which of them have content of their new state.
    """
    if documents:
        artifacts.discard(connection, ["land"], [d for d in documents if d not in bodies])
        ledger.invalidate(connection, documents)
        access_lists.narrow(connection, documents)
        outcomes.decide(connection, documents, "superseded")
        children.propagate(connection, documents)


def _upsert(connection: Connection, rows: list[dict[str, Any]]) -> None:
    if rows:
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        if connection.execute(_SQL["upsert_documents"], columns).rowcount != len(rows):
            raise LostRace("another worker landed a document of this batch meanwhile")


def _document_row(fold_: _Fold, document: str) -> dict[str, Any]:
    state, event = fold_.states[document], fold_.newest[document]
    envelope = None if state.deleted else envelopes.seal(fold_.keys, _envelope(event), document)
    return asdict(state) | {
        "envelope": envelope,
        "acl": encode(() if state.deleted else event.acl).decode(),
        "kafka_offset": fold_.numbering.base + event.offset,
        "event_time": event.time,
        "received_at": event.received,
    }


def _envelope(event: Event) -> Envelope:
    return Envelope(
        name=event.document_name,
        source=event.source,
        title=event.title or "",
        uri=event.uri or "",
        metadata=event.metadata,
        media_type=event.media_type or "",
        file_name=event.file_name or "",
        content_sha256=event.content_sha256 or "",
    )


_EVENT_ROW = ("partitions", "offsets", "event_keys", "documents", "operations", "sequences", "fates", "event_times", "received")
_EVENT_COLUMNS = (*_EVENT_ROW, "reasons", "subjects", "own_offsets")


def _record_events(connection: Connection, rows: Sequence[tuple[int | str | bytes | datetime | None, ...]], *, first_read: bool) -> None:
    if rows:
        columns = dict(zip(_EVENT_COLUMNS, map(list, zip(*rows, strict=True)), strict=True))
        connection.execute(_SQL["record_events"], {**columns, "first_read": first_read})


_SQL = statements("events", "sql/landing.sql")
