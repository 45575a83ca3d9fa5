"""Find what is wrong with a tenant after a workload: nothing may be lost, repeated, resurrected, stale or left over.

The expected state comes from the workload, and from a second tenant that received the same records in a run without faults.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from benchmarks._compare import Names, TenantState, by_document, contents, differences, in_graph, outcomes, read_state
from benchmarks._workload import PEOPLE, Version, Workload, publish
from events.outcomes import Outcome
from pipelines.app import Headrace
from pipelines.operations.stage_counts import due

WRONG = ("lost", "repeated", "resurrected", "stale", "orphans", "differs_from_scratch")

Fault = tuple[str, str]
"""One of WRONG, and a description with the workload's document names."""
_ROUNDS = 20


def drain(headrace: Headrace, tenant: str) -> None:
    """Ingest until nothing is due. Raises RuntimeError if something is still due after 20 rounds."""
    for _ in range(_ROUNDS):
        headrace.ingest(tenant)
        if not due(headrace, tenant):
            return
    raise RuntimeError(f"{due(headrace, tenant)} documents are still due")


def from_scratch(headrace: Headrace, workload: Workload, tenant: str) -> None:
    """Add a tenant, publish the workload's records for it, and ingest them without faults."""
    from pipelines.governance import tenants

    tenants.add(headrace, tenant)
    publish(headrace.endpoints.kafka_client(), tenant, workload.records)
    drain(headrace, tenant)


def faults(
    headrace: Headrace, tenant: str, workload: Workload, scratch: str, state: TenantState | None = None, *, check_outcomes: bool = True
) -> Mapping[str, Sequence[str]]:
    """Return what is wrong, by kind, with every kind as a key. The tenant must be drained; `scratch` is the tenant of `from_scratch`.

    `state` is what Postgres stores for the tenant, if it was read already. `check_outcomes`: check the published outcomes too.
    """
    found = {kind: list[str]() for kind in WRONG}
    state = state or read_state(headrace, tenant)
    names = Names(headrace, tenant, workload.keys, PEOPLE)
    of_outcomes = _outcomes(state, names, workload, outcomes(headrace, tenant)) if check_outcomes else ()
    for kind, description in (*of_outcomes, *_faults(headrace, tenant, workload, scratch, state, names)):
        found[kind].append(f"{tenant}: {description}")
    return found


def _faults(headrace: Headrace, tenant: str, workload: Workload, scratch: str, state: TenantState, names: Names) -> Iterator[Fault]:
    yield from _records(state, names, workload)
    for document, name in names.documents.items():
        if name in workload.newest:
            yield from _document(state, names, document, name, workload.newest[name])
    yield from _leftovers(headrace, tenant, state, names, workload)
    expected = contents(headrace, scratch, read_state(headrace, scratch), Names(headrace, scratch, workload.keys, PEOPLE))
    for line in differences(contents(headrace, tenant, state, names), expected):
        yield "differs_from_scratch", line


def _records(state: TenantState, names: Names, workload: Workload) -> Iterator[Fault]:
    """Each record must have landed once or become a dead letter, and each landing must have changed its document at most once."""
    published, landed = Counter(record.name for record in workload.records), by_document(state.events)
    refused = Counter(record.name for record in workload.records if record.refused)
    without_key = {"": ""}
    for document, name in {**names.documents, **without_key}.items():
        rows = landed.get(document, [])
        if len(rows) != published[name]:
            yield ("lost" if len(rows) < published[name] else "repeated"), f"{name}: {published[name]} records, {len(rows)} landed"
        dead = sum(row["fate"] == "dead-lettered" for row in rows)
        if dead != refused[name]:
            yield "lost", f"{name}: {refused[name]} records to refuse, {dead} dead letters"
        # a delete of an unknown document writes its tombstone
        changes = sum(row["fate"] in ("landed", "unknown-document") for row in rows)
        if document in state.documents and state.documents[document]["revision"] > changes:
            yield "repeated", f"{name}: revision {state.documents[document]['revision']} after {changes} landings"


def _outcomes(state: TenantState, names: Names, workload: Workload, published: Sequence[Outcome]) -> Iterator[Fault]:
    """Each event must have one outcome, which may be published repeatedly. For landed events, a document's outcomes must be in order.

    Outcomes that landing decides at once (unchanged, superseded, dead-lettered) are decided without the document's lock and may overtake.
    """
    first: dict[tuple[int, int], Outcome] = {}
    for outcome in published:
        before = first.setdefault((outcome.partition, outcome.offset), outcome)
        if before != outcome:
            yield "repeated", f"{outcome.document}: {before.outcome}, then {outcome.outcome}"
    landed = {(row["kafka_partition"], row["kafka_offset"]) for row in state.events if row["fate"] == "landed"}
    last: dict[str, Outcome] = {}
    for outcome in (outcome for position, outcome in first.items() if position in landed):
        name = outcome.document or ""
        if name in last and outcome.decided_at < last[name].decided_at:
            yield "repeated", f"{name}: its outcomes are out of order"
        last[name] = outcome
    for row in state.events:
        position, name = (row["kafka_partition"], row["kafka_offset"]), str(names.of(row["document"]))
        if position not in first:
            yield "lost", f"{name}: no outcome of its {row['fate']} event"
        elif row["fate"] not in ("landed", first[position].outcome):
            yield "repeated", f"{name}: {row['fate']}, published as {first[position].outcome}"
        elif row["fate"] == "landed" and name in workload.newest and row["sequence"] == workload.newest[name].sequence:
            yield from _newest_outcome(name, workload.newest[name], first[position])


def _newest_outcome(name: str, version: Version, outcome: Outcome) -> Iterator[Fault]:
    expected = "deleted" if version.deleted else "indexed" if version.readable else "dead-lettered"
    if outcome.outcome != expected:
        yield "lost", f"{name}: {outcome.outcome} instead of {expected}"


def _document(state: TenantState, names: Names, document: str, name: str, version: Version) -> Iterator[Fault]:
    """The document must be as its newest version says, as landed and as searched."""
    landed, indexed = state.documents.get(document), state.indexed.get(document)
    if landed is None:
        yield "lost", f"{name}: never landed"
    elif landed["sequence"] != version.sequence:
        yield "stale", f"{name}: at sequence {landed['sequence']}, not {version.sequence}"
    if version.deleted and (document in state.in_any_generation or (landed and not landed["deleted"])):
        yield "resurrected", f"{name}: deleted, but present"
    if version.readable:
        if indexed is None:
            yield "lost", f"{name}: not searchable"
        elif (indexed["title"], indexed["sequence"]) != (version.title, version.sequence):
            yield "stale", f"{name}: indexed at sequence {indexed['sequence']}"
        if names.of(state.passages.get(document, [])) != names.of([(path, _redacted(text)) for path, text in version.sections or ()]):
            yield "stale", f"{name}: its passages are not those of sequence {version.sequence}"
        if version.sections and state.acls(document) != {frozenset(version.acl)}:
            yield "stale", f"{name}: its access list is not that of sequence {version.sequence}"


def _redacted(text: str) -> str:
    """Return the text as `Names` translates it after redaction. A text that still has an address in clear is different."""
    for person in PEOPLE:
        text = text.replace(person, f"<EMAIL:{person}>")
    return text


def _leftovers(headrace: Headrace, tenant: str, state: TenantState, names: Names, workload: Workload) -> Iterator[Fault]:
    live = {document for document, name in names.documents.items() if name in workload.newest and workload.newest[name].readable}
    graph = headrace.models.projection.documents(tenant).keys()
    for document in live - graph:
        yield "lost", f"{names.of(document)}: not in the graph"
    for document in (state.in_any_generation | graph) - live:
        name = names.documents.get(document)
        if name is None or name not in workload.newest or not workload.newest[name].deleted:
            yield "orphans", f"{name or 'a document that was never published'}: in index or graph"
    for document in in_graph(headrace, tenant, names.documents.keys() - live):
        yield "resurrected", f"{names.of(document)}: deleted or unreadable, but in the graph"
    for row in state.leftovers:
        yield "orphans", f"{names.of(row['document'])}: deleted, but its {row['stage']} artifact is left"
    for count, kind in ((state.unsourced, "chunks without a source"), (state.unpublished, "outcomes in the outbox")):
        if count:
            yield "orphans", f"{count} {kind}"
