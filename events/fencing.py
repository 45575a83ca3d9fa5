"""Fencing: what one event makes of one document's state, in whatever order events arrive. Pure; `events.landing` applies it.

An event with a `sequence` is ordered by it. One without is ordered by the broker: by its running offset within a partition; in a topic that
was recreated, it comes after all events of the former one; and between partitions, by the time at which the broker appended the record.
Offsets of two partitions say nothing about each other: an event whose place in the order is unknown is refused.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from core.fates import Fate

Order = Literal["newer", "same", "older"]
Place = TypeVar("Place", int, datetime)

ERASED = "erased"
"""The state key of an erased document."""

PARTITION_CHANGED = "partition-changed"

REFUSALS = {
    "source-mismatch": "another source owns this document",
    "sequence-kind-mismatch": "a document's events either all carry a sequence or none does",
    "sequence-conflict": "another event with this sequence and other content landed before",
    PARTITION_CHANGED: "the document's events came by another partition before, and no sequence or append time orders them",
}
"""Reason code → detail, of landing's refusals of events that satisfy the contract."""


class State(Struct, frozen=True):
    """A document's newest state, as landing compares it. Every `*_key` is a keyed digest.

    `revision` is the stored revision, 0 for a new document; a write increments it by one, however many events of the document the batch
    has. `published`: an upsert has landed at some time. Until then the state is a tombstone that only fences: no source owns the document.
    `appended_at`: the highest append time of the events that led here, None if the last one has none. `landed_at`: when the state was
    stored, None if it was not.
    """

    document: str
    revision: int
    sequence: int
    sequence_explicit: bool
    published: bool
    source_key: str
    state_key: str
    content_key: str
    envelope_key: str
    acl_key: str
    deleted: bool
    kafka_partition: int
    appended_at: datetime | None = None
    landed_at: datetime | None = None


class Verdict(Struct, frozen=True):
    """An event's fate, the document's state after it, and the reason and detail of a refusal. An unchanged state is the same object."""

    fate: Fate
    state: State | None
    reason: str | None = None

    @property
    def detail(self) -> str:
        return REFUSALS.get(self.reason or "", "")


def fold(before: State | None, proposed: State, topic_base: int = 0) -> Verdict:
    """Apply `proposed`, the state that an event asks for, to the state before it.

    `topic_base`: the running offset at which the event's topic begins; lower ones are of former topics of its name.
    """
    if before is None or not before.published:
        return _first(before, proposed, topic_base)
    order = _order(before, proposed, topic_base)
    refusal = _refusal(before, proposed, order)
    if refusal:
        return Verdict("dead-lettered", before, refusal)
    if order == "newer":
        return Verdict("landed", _following(before, proposed))
    return Verdict("unchanged" if order == "same" else "superseded", before)


def _first(before: State | None, proposed: State, topic_base: int) -> Verdict:
    """An event of a document that no upsert has landed for: upserts lower than its tombstone, if it has one, do not land."""
    if before is None:
        return Verdict("unknown-document", replace(proposed, source_key="")) if proposed.deleted else Verdict("landed", proposed)
    comparable = proposed.sequence_explicit == before.sequence_explicit
    order = _order(before, proposed, topic_base) if comparable else None
    if proposed.deleted:
        # between an explicit sequence and an offset the explicit one wins: only numbered events may arrive in any order
        raises = order == "newer" if comparable else proposed.sequence_explicit
        return Verdict("unknown-document", _following(before, replace(proposed, source_key="")) if raises else before)
    if order == "newer" or not comparable:
        return Verdict("landed", _following(before, proposed))
    if order == "older":
        return Verdict("superseded", before)
    return Verdict("dead-lettered", before, PARTITION_CHANGED if order is None else "sequence-conflict")


def _following(before: State, proposed: State) -> State:
    """The proposed state as the successor of the one before. Append times never decrease, even if a broker's clock does."""
    appended_at = proposed.appended_at
    if appended_at and before.appended_at and proposed.sequence_explicit == before.sequence_explicit:
        appended_at = max(appended_at, before.appended_at)
    owner = before.source_key or proposed.source_key
    published = before.published or proposed.published
    return replace(proposed, revision=before.revision, source_key=owner, published=published, appended_at=appended_at)


def _refusal(before: State, proposed: State, order: Order | None) -> str | None:
    if proposed.source_key and before.source_key not in ("", proposed.source_key):
        return "source-mismatch"
    if proposed.sequence_explicit != before.sequence_explicit:
        return "sequence-kind-mismatch"
    if order is None:
        return PARTITION_CHANGED
    if order == "same" and not _alike(before, proposed):
        return "sequence-conflict"
    return None


def _order(before: State, proposed: State, topic_base: int) -> Order | None:
    """The place of `proposed` relative to `before`, which has the same kind of sequence; None if it is unknown."""
    if proposed.sequence_explicit or proposed.kafka_partition == before.kafka_partition or before.sequence < topic_base:
        return _relative(proposed.sequence, before.sequence)
    return _by_append_time(before, proposed)


def _by_append_time(before: State, proposed: State) -> Order | None:
    """The order of records of two partitions, by append time; unknown if the times are equal."""
    if proposed.appended_at is None:
        return None
    if before.appended_at is None:
        # its topic kept no append times then; a record that was appended after it had landed is newer
        return "newer" if before.landed_at and proposed.appended_at > before.landed_at else None
    order = _relative(proposed.appended_at, before.appended_at)
    return None if order == "same" else order


def _relative(proposed: Place, before: Place) -> Order:
    if proposed == before:
        return "same"
    return "newer" if proposed > before else "older"


def _alike(before: State, proposed: State) -> bool:
    """The same content, title, access and metadata. Not by `state_key` alone: it has the id in the spelling that was published."""
    parts = ("content_key", "envelope_key", "acl_key")
    live = not (before.deleted or proposed.deleted)
    return before.state_key == proposed.state_key or (live and all(getattr(before, part) == getattr(proposed, part) for part in parts))
