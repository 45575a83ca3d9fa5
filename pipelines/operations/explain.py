"""Where a document is and why: its state, events, ledger records, place in the index and in the graph, and dead letters.

Counts over a tenant's documents are in `pipelines.operations.status` and `pipelines.operations.stage_counts`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from core import artifacts
from core.errors import Unavailable
from core.ledger import ledger
from core.records import decode
from core.sql import statements
from core.tenancy import Connection
from pipelines.documents import find
from pipelines.resources import Resources
from pipelines.stages.acceptance import Measured
from pipelines.stages.registry import NAMES


class DocumentState(msgspec.Struct, frozen=True):
    """A document's newest landed state. `kafka_partition` and `kafka_offset`: the event that it came from.

    `published`: an upsert has landed at some time. `appended_at`: when the broker appended the event, None if the topic did not keep that.
    """

    document: str
    sequence: int
    sequence_explicit: bool
    published: bool
    deleted: bool
    revision: int
    acl: Sequence[str]
    kafka_partition: int
    kafka_offset: int
    event_time: datetime | None
    received_at: datetime
    appended_at: datetime | None
    landed_at: datetime


class LandedEvent(msgspec.Struct, frozen=True):
    """One event of a document, and its fate at landing."""

    kafka_partition: int
    kafka_offset: int
    operation: str | None
    sequence: int | None
    fate: str
    event_time: datetime | None
    received_at: datetime
    landed_at: datetime


class StageRecord(msgspec.Struct, frozen=True):
    """The ledger's record of a document at one stage. `seconds`: how long the last attempt took."""

    stage: str
    status: str
    input_key: str
    fingerprint: str
    output_key: str | None
    attempts: int
    next_attempt: datetime | None
    reason: str | None
    detail: str | None
    seconds: float | None
    updated_at: datetime


class Placement(msgspec.Struct, frozen=True):
    """A document in one generation of the index. `state` is the generation's; `shares_with`: other documents with a text in common."""

    generation: int
    state: str
    name: str
    title: str
    sequence: int
    indexed_at: datetime
    chunks: int
    shares_with: int


class DocumentDeadLetter(msgspec.Struct, frozen=True):
    """A dead letter of a document, open or resolved."""

    kafka_partition: int
    kafka_offset: int
    stage: str
    reason: str
    detail: str
    attempts: int
    last_at: datetime
    resolved_at: datetime | None


class InGraph(msgspec.Struct, frozen=True, omit_defaults=True):
    """Counts of a document's nodes and relationships, as `graph.projection.Projection.document_counts`.

    If Neo4j does not answer, only `unavailable`, the reason.
    """

    documents: int | None = None
    sections: int | None = None
    chunks: int | None = None
    mentions: int | None = None
    relations: int | None = None
    tombstones: int | None = None
    unavailable: str | None = None


class Explanation(msgspec.Struct, frozen=True):
    """Everything known of one document.

    `document`: its key. `verdict`: one sentence. `state`: None if every event of it was refused. `events`: the newest 20. `signals`: its
    language and how well it could be read (`core.records.Signals`), counts by kind as `name/kind`; empty if the parsed document is not
    kept.
    """

    document: str
    verdict: str
    state: DocumentState | None
    events: Sequence[LandedEvent]
    stages: Sequence[StageRecord]
    signals: Mapping[str, str | int | float]
    index: Sequence[Placement]
    graph: InGraph
    dead_letters: Sequence[DocumentDeadLetter]


class Progress(msgspec.Struct, frozen=True):
    """How far a document's newest landed state is: what `Explanation` has of it, without who may read it and why something failed."""

    verdict: str
    state: DocumentState
    stages: Sequence[StageRecord]


def progress(resources: Resources, tenant: str, document: str) -> Progress | None:
    """None if no event of this document has landed. `document`: its key."""
    values = {"document": document}
    with resources.session(tenant).transaction() as connection:
        state = next((DocumentState(**row) for row in connection.execute(_SQL["state"], values)), None)
        placed = [Placement(**row) for row in connection.execute(_SQL["placed"], values)]
        stages = [StageRecord(**row) for row in ledger.records(connection, document)]
    return Progress(verdict(state, stages, placed), state, stages) if state else None


def explain(resources: Resources, tenant: str, name: str) -> list[Explanation]:
    """An explanation for each document that `name` stands for. Raises as `pipelines.documents.find` does."""
    return [_explanation(resources, tenant, document) for document in find(resources, tenant, name)]


def _explanation(resources: Resources, tenant: str, document: str) -> Explanation:
    values = {"document": document}
    with resources.session(tenant).transaction() as connection:
        state = next((DocumentState(**row) for row in connection.execute(_SQL["state"], values)), None)
        events = [LandedEvent(**row) for row in connection.execute(_SQL["events"], values)]
        placed = [Placement(**row) for row in connection.execute(_SQL["placed"], values)]
        letters = [DocumentDeadLetter(**row) for row in connection.execute(_SQL["dead_letters"], values)]
        stages = [StageRecord(**row) for row in ledger.records(connection, document)]
        signals = _signals(resources, tenant, connection, document)
    return Explanation(
        document=document,
        verdict=verdict(state, stages, placed),
        state=state,
        events=events,
        stages=stages,
        signals=signals,
        index=placed,
        graph=_in_graph(resources, tenant, document),
        dead_letters=letters,
    )


def _signals(resources: Resources, tenant: str, connection: Connection, document: str) -> dict[str, str | int | float]:
    payload = artifacts.get(connection, resources.session(tenant).keys, "parse", [document]).get(document)
    return {} if payload is None else flat(decode(payload, Measured))


def flat(measured: Measured) -> dict[str, str | int | float]:
    """The signals that have a value, nested counts as `name/kind`."""
    values = {"language": measured.language, **msgspec.to_builtins(measured.signals)}
    nested = {f"{name}/{kind}": count for name, counts in values.items() if isinstance(counts, dict) for kind, count in counts.items()}
    return {name: value for name, value in values.items() if not isinstance(value, dict) and value not in (None, "")} | nested


def _in_graph(resources: Resources, tenant: str, document: str) -> InGraph:
    try:
        return msgspec.convert(resources.models.projection.document_counts(tenant, document), InGraph)
    except Unavailable as error:
        return InGraph(unavailable=error.detail)


def verdict(state: DocumentState | None, stages: Sequence[StageRecord], placed: Sequence[Placement]) -> str:
    """One sentence: searchable or not, and why."""
    if state is None:
        return "not searchable: every event of it was refused, see its dead letters"
    pending = _pending(state, stages)
    if state.deleted:
        what = "deleted" if state.published else "never published; only deletes of this id landed"
        return f"{what}; its tombstone keeps the sequence" + (f"; still to pass: {', '.join(pending)}" if pending else "")
    before = [name for name in pending if name in _TO_SEARCH]
    if before:
        return f"{'an older version is searchable' if _has_passages(placed) else 'not searchable'}: {_why(before[0], stages)}"
    return _visibility(state, placed) + (f"; the graph lags: {_why(pending[0], stages)}" if pending else "")


_TO_SEARCH = NAMES[: NAMES.index("index") + 1]


def _pending(state: DocumentState, stages: Sequence[StageRecord]) -> list[str]:
    """The stages that this state has not passed; for a deleted document, the stages that still have something of it."""
    status = {record.stage: record.status for record in stages}
    return [name for name in NAMES if status.get(name, "done" if state.deleted else None) != "done"]


def _why(name: str, stages: Sequence[StageRecord]) -> str:
    record = next((record for record in stages if record.stage == name), None)
    if record and record.status in ("failed", "waiting"):
        return f"{name} {record.status} with {record.reason}"
    return f"waits for {name}; `headrace ingest` runs it"


def _visibility(state: DocumentState, placed: Sequence[Placement]) -> str:
    if not _has_passages(placed):
        return "empty: indexed with no passages"
    return "searchable" if state.acl else "indexed, but its acl lets nobody read it"


def _has_passages(placed: Sequence[Placement]) -> bool:
    return any(place.chunks for place in placed)


_SQL = statements("pipelines.operations", "sql/explain.sql")
