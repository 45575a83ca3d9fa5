"""Landing: a batch of records becomes documents' newest states, and the position moves, in one transaction.

`fold` says what one event does to one document's state and is pure; `land` runs it over a batch under the tenant's role.
Dead letters of the contract are written here; those of later stages by `core.ledger.stage`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import asdict, replace

from core import artifacts, outcomes
from core.errors import LostRace
from core.keys import TenantKeys
from core.ledger import ledger
from core.ledger.ledger import Letter
from core.records import Envelope, encode
from core.sql import statements
from core.tenancy import Connection
from events import children
from events.contract import Event, KafkaRecord, Rejected, read
from events.digests import content_key, document_key
from events.kafka.batches import Batch
from events.positions import move

Fate = Literal["landed", "unchanged", "superseded", "dead-lettered"]


class State(Struct, frozen=True):
    """A document's newest state as landing compares it. Every `*_key` is a keyed digest.

    `revision` is the one that was read, 0 where there is none; writing makes it one more, however many events the batch has of it.
    `source_key` is empty where no event has named a source yet.
    """

    document: str
    revision: int
    sequence: int
    sequence_explicit: bool
    source_key: str
    state_key: str
    content_key: str
    envelope_key: str
    acl_key: str
    deleted: bool


class Verdict(Struct, frozen=True):
    """What an event did: its fate, why it was refused where it was, and the state after it."""

    fate: Fate
    state: State | None
    reason: str | None = None
    detail: str = ""


def fold(before: State | None, proposed: State) -> Verdict:
    """What `proposed`, the state an event asks for, does to the state that is there.

    The highest sequence wins in whatever order events arrive; a tombstone is a state like any other and keeps its sequence.
    A null value without a source asks for no ownership, and leaves a document that it meets first to the first source that comes.
    """
    if before is None:
        return Verdict("landed", proposed)
    refusal = _refusal(before, proposed)
    if refusal:
        return Verdict("dead-lettered", before, refusal, REFUSALS[refusal])
    if proposed.sequence > before.sequence:
        owner = before.source_key or proposed.source_key
        return Verdict("landed", replace(proposed, revision=before.revision, source_key=owner))
    return Verdict("unchanged" if proposed.sequence == before.sequence else "superseded", before)


REFUSALS = {
    "source-mismatch": "another source owns this document",
    "sequence-kind-mismatch": "a source numbers a document's events itself or leaves that to the broker, not both",
    "sequence-conflict": "the same sequence came with other content; the first stays",
}
"""Why landing refuses an event that matches the contract, by reason code."""


def _refusal(before: State, proposed: State) -> str | None:
    if proposed.source_key and before.source_key not in ("", proposed.source_key):
        return "source-mismatch"
    if proposed.sequence_explicit != before.sequence_explicit:
        return "sequence-kind-mismatch"
    if proposed.sequence == before.sequence and proposed.state_key != before.state_key:
        return "sequence-conflict"
    return None


@dataclass
class Landed:
    """What a batch came to: fates and reasons by count, and the documents whose state changed."""

    events: int = 0
    fates: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    documents: list[str] = field(default_factory=list)

    def add(self, other: Landed) -> None:
        self.events += other.events
        self.fates.update(other.fates)
        self.reasons.update(other.reasons)
        self.documents.extend(other.documents)


Known = Mapping[tuple[int, int], tuple[str, str | None]]
"""What is kept of events that landed before, by partition and running offset: the fate, and the reason of the open dead letter."""


@dataclass
class _Fold:
    """A batch in the making: each document's state so far, the event that gave it, and every event's row.

    Offsets are counted on from `base`, so that no two events of a partition ever share one (`events.positions`); only what a source is told
    has the topic's own.
    """

    keys: TenantKeys
    states: dict[str, State]
    base: int = 0
    known: Known | None = None
    newest: dict[str, Event] = field(default_factory=dict)
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    landed: Landed = field(default_factory=Landed)

    def add(self, message: Event | Rejected, document: str | None) -> None:
        if isinstance(message, Event):
            self.take(message, document or "")
        else:
            self.refuse(message, document)

    def take(self, event: Event, document: str) -> None:
        proposed = propose(event, document, self.keys)
        verdict = fold(self.states.get(proposed.document), proposed)
        if self._told(event, proposed.document, verdict.fate, verdict.reason):
            return
        if verdict.fate == "landed" and verdict.state:
            self.states[proposed.document], self.newest[proposed.document] = verdict.state, event
        if verdict.reason:
            self._bury(event, proposed.document, verdict.reason, verdict.detail)
        self._note(event, proposed.document, verdict.fate, verdict.reason)

    def refuse(self, rejected: Rejected, document: str | None) -> None:
        if self._told(rejected, document, "dead-lettered", rejected.reason):
            return
        self._bury(rejected, document, rejected.reason, rejected.detail)
        row = (rejected.partition, self._running(rejected), None, document, None, None, "dead-lettered", None, rejected.received)
        self.rows.append((*row, rejected.reason, self._subject(rejected, None, rejected.key), rejected.offset))
        self._count("dead-lettered", rejected.reason)

    def _running(self, message: Event | Rejected) -> int:
        return self.base + message.offset

    def _bury(self, message: Event | Rejected, document: str | None, reason: str, detail: str) -> None:
        self.letters.append(Letter(message.partition, self._running(message), "land", document, reason, detail))

    def _told(self, message: Event | Rejected, document: str | None, fate: Fate, reason: str | None) -> bool:
        """Count, and no more, where this says nothing that is not known already. Never outside a replay."""
        told = self.known is not None and fate != "landed" and self._repeats(message, document, fate, reason, self.known)
        if told:
            self._count(fate, reason)
        return told

    def _repeats(self, message: Event | Rejected, document: str | None, fate: Fate, reason: str | None, known: Known) -> bool:
        place = message.partition, self._running(message)
        if place in known:
            before, open_reason = known[place]
            return before != "dead-lettered" or reason == open_reason
        # nothing is known of what was erased, and nothing shall be; anything else was passed over before it could be refused
        state = self.states.get(document or "")
        return fate != "dead-lettered" or (state is not None and state.state_key == ERASED)

    def _note(self, event: Event, document: str, fate: Fate, reason: str | None) -> None:
        event_key = self.keys.digest(event.event_id.encode(), "event")
        row = (event.partition, self._running(event), event_key, document, event.operation, event.sequence, fate, event.time)
        subject = self._subject(event, event.event_id, event.document_name.encode())
        self.rows.append((*row, event.received, reason, subject, event.offset))
        self._count(fate, reason)

    def _subject(self, message: Event | Rejected, event_id: str | None, key: bytes | None) -> bytes:
        return outcomes.seal(self.keys, outcomes.subject(event_id, key), message.partition, message.offset)

    def _count(self, fate: Fate, reason: str | None) -> None:
        self.landed.events += 1
        self.landed.fates[fate] += 1
        if reason:
            self.landed.reasons[reason] += 1


ERASED = "erased"
"""The state key that an erasure leaves."""


def propose(event: Event, document: str, keys: TenantKeys) -> State:
    """The state that an event asks for, before fencing. `document` is the document's key."""
    content = _content(event)
    envelope = encode(_envelope(event))
    acl = encode(event.acl)
    body = b"deleted" if event.operation == "delete" else b"\0".join((content, envelope, acl))
    return State(
        document=document,
        revision=0,
        sequence=event.sequence,
        sequence_explicit=event.sequence_explicit,
        source_key=keys.digest(event.source.encode("utf-8", "surrogatepass"), "source") if event.source else "",
        state_key=keys.digest(body, "state"),
        content_key=content_key(keys, content, event.media_type or "", event.file_name or ""),
        envelope_key=keys.digest(envelope, "envelope"),
        acl_key=keys.digest(acl, "acl"),
        deleted=event.operation == "delete",
    )


def _content(event: Event) -> bytes:
    """What stands for the content in a digest.

    A reference without a digest of its own means whatever is there by then: every new event of it is fetched anew.
    """
    if event.content is not None:
        return b"inline\0" + event.content
    return f"uri\0{event.uri}\0{event.content_sha256 or event.sequence}".encode("utf-8", "surrogatepass")


def land(connection: Connection, keys: TenantKeys, batch: Batch, topic_id: str | None = None) -> Landed:
    """Land a batch: events, documents, contents, dead letters and the position, or nothing.

    `topic_id` says in which of the topics of this name the batch was read, as `events.positions.settle` was told.
    Raises LostRace where the position is no longer where the batch was read from, or a document moved in between.
    """
    base = move(connection, batch, topic_id)
    return land_records(connection, keys, batch.records, base=base, anew=True)


def land_records(
    connection: Connection,
    keys: TenantKeys,
    records: Sequence[KafkaRecord],
    known: Known | None = None,
    *,
    base: int = 0,
    anew: bool = False,
) -> Landed:
    """Land records without moving the position: what a replay does. Fencing makes it safe to repeat.

    Where `known` is given, an event that comes to nothing new leaves no trace but its count. What became of an event that has landed
    before is not told again; `anew` says that none of these has, whatever stood at their positions. `base` is the position's.
    """
    messages = [_numbered(read(record), base) for record in records]
    documents = [_document_of(message, keys) for message in messages]
    fold_ = _Fold(keys, states(connection, sorted({document for document in documents if document})), base, known)
    for message, document in zip(messages, documents, strict=True):
        fold_.add(message, document)
    _write(connection, fold_, anew=anew)
    return fold_.landed


def _numbered(message: Event | Rejected, base: int) -> Event | Rejected:
    """Without a sequence of its source's, the broker's order over every topic of this name: a topic made anew begins at offset 0."""
    if base and isinstance(message, Event) and not message.sequence_explicit:
        return replace(message, sequence=base + message.offset)
    return message


def _document_of(message: Event | Rejected, keys: TenantKeys) -> str | None:
    if isinstance(message, Event):
        return document_key(message.document_name, keys)
    return keys.digest(message.key, "document") if message.key else None


def states(connection: Connection, documents: Sequence[str]) -> dict[str, State]:
    """The newest states of these documents and of all that is inside of them, by key. Locked: until the commit neither a landing
    nor a stage moves them."""
    rows = connection.execute(_sql("states"), {"documents": list(documents)})
    return {row["document"]: State(**row) for row in rows}


def _write(connection: Connection, fold_: _Fold, *, anew: bool) -> None:
    changed = sorted(fold_.newest)
    _upsert(connection, [_document_row(fold_, document) for document in changed])
    bodies = {d: event.content for d, event in fold_.newest.items() if event.content is not None}
    artifacts.put(connection, fold_.keys, "land", bodies)
    _leave_behind(connection, [d for d in changed if fold_.states[d].revision], bodies)
    _note_events(connection, fold_.rows, anew=anew)
    ledger.bury(connection, fold_.letters)
    fold_.landed.documents = changed


def _leave_behind(connection: Connection, documents: list[str], bodies: Collection[str]) -> None:
    """What there is of older states of these documents. Of a document that lands for the first time there is none."""
    if documents:
        artifacts.discard(connection, ["land"], [d for d in documents if d not in bodies])
        ledger.fall_behind(connection, documents)
        connection.execute(_sql("narrow"), {"documents": documents})
        outcomes.decide(connection, documents, "superseded")
        children.follow(connection, documents)


def _upsert(connection: Connection, rows: list[dict[str, Any]]) -> None:
    if rows:
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        if connection.execute(_sql("land"), columns).rowcount != len(rows):
            raise LostRace("a document of this batch was landed by another worker in between")


def _document_row(fold_: _Fold, document: str) -> dict[str, Any]:
    state, event = fold_.states[document], fold_.newest[document]
    envelope = None if state.deleted else fold_.keys.seal(encode(_envelope(event)), f"envelope/{document}")
    return asdict(state) | {
        "envelope": envelope,
        "acl": encode(() if state.deleted else event.acl).decode(),
        "kafka_partition": event.partition,
        "kafka_offset": fold_.base + event.offset,
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


_NOTED = ("partitions", "offsets", "event_keys", "documents", "operations", "sequences", "fates", "event_times", "received")
_EVENT_COLUMNS = (*_NOTED, "reasons", "subjects", "own_offsets")


def _note_events(connection: Connection, rows: Sequence[tuple[int | str | bytes | datetime | None, ...]], *, anew: bool) -> None:
    if rows:
        columns = dict(zip(_EVENT_COLUMNS, map(list, zip(*rows, strict=True)), strict=True))
        connection.execute(_sql("note"), {**columns, "anew": anew})


def _sql(name: str) -> Any:
    return statements("events", "sql/landing.sql")[name]
