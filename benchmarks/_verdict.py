"""What is wrong with a tenant that a workload was published for: nothing may be lost, repeated, resurrected, stale or left over.

The workload says what should be there, and a second tenant that was given the same records, and no faults, what a plain run gives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from benchmarks._compare import Held, Names, by_document, differences, held, in_graph, outcomes, told
from benchmarks._workload import PEOPLE, Version, Workload, publish
from events.outcomes import Outcome
from pipelines.app import Headrace

WRONG = ("lost", "repeated", "resurrected", "stale", "orphans", "differs_from_scratch")

Fault = tuple[str, str]
"""One of WRONG, and what is wrong, by the workload's own names."""
_ROUNDS = 20


def drain(headrace: Headrace, tenant: str) -> None:
    """Land and run until nothing is due. Raises RuntimeError where something stays due."""
    for _ in range(_ROUNDS):
        headrace.ingest(tenant)
        if not headrace.due(tenant):
            return
    raise RuntimeError(f"{headrace.due(tenant)} documents stay due")


def from_scratch(headrace: Headrace, workload: Workload, tenant: str) -> None:
    """Make a tenant, give it the same records, and run once over them."""
    from pipelines.governance import tenants

    tenants.add(headrace, tenant)
    publish(headrace.endpoints.kafka_client(), tenant, workload.records)
    drain(headrace, tenant)


def faults(
    headrace: Headrace, tenant: str, workload: Workload, scratch: str, there: Held | None = None, *, heard: bool = True
) -> Mapping[str, Sequence[str]]:
    """What is wrong, by kind; each kind is there. The tenant is drained, or should be; `scratch` is of `from_scratch`.

    `there` is what it holds in Postgres, where that was read already. Where `heard` is False, what was told of its events is left out.
    """
    found = {kind: list[str]() for kind in WRONG}
    there = there or held(headrace, tenant)
    names = Names(headrace, tenant, workload.names, PEOPLE)
    told_of = _outcomes(there, names, workload, outcomes(headrace, tenant)) if heard else ()
    for kind, what in (*told_of, *_faults(headrace, tenant, workload, scratch, there, names)):
        found[kind].append(f"{tenant}: {what}")
    return found


def _faults(headrace: Headrace, tenant: str, workload: Workload, scratch: str, there: Held, names: Names) -> Iterator[Fault]:
    yield from _records(there, names, workload)
    for document, name in names.documents.items():
        if name in workload.newest:
            yield from _document(there, names, document, name, workload.newest[name])
    yield from _left_over(headrace, tenant, there, names, workload)
    plain = Names(headrace, scratch, workload.names, PEOPLE)
    for line in differences(told(headrace, tenant, there, names), told(headrace, scratch, held(headrace, scratch), plain)):
        yield "differs_from_scratch", line


def _records(there: Held, names: Names, workload: Workload) -> Iterator[Fault]:
    """Each record landed once, and each landing moved its document at most once."""
    published, landed = Counter(record.key for record in workload.records), by_document(there.events)
    for document, name in names.documents.items():
        rows = landed.get(document, [])
        if len(rows) != published[name]:
            yield ("lost" if len(rows) < published[name] else "repeated"), f"{name}: {published[name]} records, {len(rows)} landed"
        moved = sum(row["fate"] == "landed" for row in rows)
        if document in there.states and there.states[document]["revision"] > moved:
            yield "repeated", f"{name}: revision {there.states[document]['revision']} of {moved} landings"


def _outcomes(there: Held, names: Names, workload: Workload, heard: Sequence[Outcome]) -> Iterator[Fault]:
    """Each event has one outcome, however often told, and those of events that landed are told in the order in which they were decided.

    What landing decides at once (late, known, refused) is decided beside the document's lock, and may overtake.
    """
    first: dict[tuple[int, int], Outcome] = {}
    for outcome in heard:
        before = first.setdefault((outcome.partition, outcome.offset), outcome)
        if before != outcome:
            yield "repeated", f"{outcome.document}: {before.outcome}, then {outcome.outcome}"
    landed = {(row["kafka_partition"], row["kafka_offset"]) for row in there.events if row["fate"] == "landed"}
    last: dict[str, Outcome] = {}
    for outcome in (outcome for place, outcome in first.items() if place in landed):
        name = outcome.document or ""
        if name in last and outcome.decided_at < last[name].decided_at:
            yield "repeated", f"{name}: its outcomes are told out of order"
        last[name] = outcome
    for row in there.events:
        place, name = (row["kafka_partition"], row["kafka_offset"]), str(names.of(row["document"]))
        if place not in first:
            yield "lost", f"{name}: no outcome of its {row['fate']} event"
        elif row["fate"] not in ("landed", first[place].outcome):
            yield "repeated", f"{name}: {row['fate']}, told as {first[place].outcome}"
        elif row["fate"] == "landed" and name in workload.newest and row["sequence"] == workload.newest[name].sequence:
            yield from _last_word(name, workload.newest[name], first[place])


def _last_word(name: str, version: Version, outcome: Outcome) -> Iterator[Fault]:
    expected = "deleted" if version.deleted else "indexed" if version.readable else "dead-lettered"
    if outcome.outcome != expected:
        yield "lost", f"{name}: {outcome.outcome} instead of {expected}"


def _document(there: Held, names: Names, document: str, name: str, version: Version) -> Iterator[Fault]:
    """The document is as its newest version says, in what landed and in what is searched."""
    state, listed = there.states.get(document), there.listed.get(document)
    if state is None:
        yield "lost", f"{name}: never landed"
    elif state["sequence"] != version.sequence:
        yield "stale", f"{name}: at sequence {state['sequence']}, not {version.sequence}"
    if version.deleted and (document in there.held or (state and not state["deleted"])):
        yield "resurrected", f"{name}: deleted and here"
    if version.readable:
        if listed is None:
            yield "lost", f"{name}: not searchable"
        elif (listed["title"], listed["sequence"]) != (version.title, version.sequence):
            yield "stale", f"{name}: searched at sequence {listed['sequence']}"
        if names.of(there.passages.get(document, [])) != names.of([(path, _redacted(text)) for path, text in version.sections or ()]):
            yield "stale", f"{name}: other passages than of sequence {version.sequence}"
        if there.acls(document) != {frozenset(version.acl)}:
            yield "stale", f"{name}: another access list than of sequence {version.sequence}"


def _redacted(text: str) -> str:
    """As `Names` tells it of a text that has passed redaction: an address that stands there in clear differs."""
    for person in PEOPLE:
        text = text.replace(person, f"<EMAIL:{person}>")
    return text


def _left_over(headrace: Headrace, tenant: str, there: Held, names: Names, workload: Workload) -> Iterator[Fault]:
    live = {document for document, name in names.documents.items() if name in workload.newest and workload.newest[name].readable}
    graph = headrace.models.projection.documents(tenant).keys()
    for document in live - graph:
        yield "lost", f"{names.of(document)}: not in the graph"
    for document in (there.held | graph) - live:
        name = names.documents.get(document)
        if name is None or name not in workload.newest or not workload.newest[name].deleted:
            yield "orphans", f"{name or 'a document that nobody published'}: in index or graph"
    for document in in_graph(headrace, tenant, names.documents.keys() - live):
        yield "resurrected", f"{names.of(document)}: gone and in the graph"
    for row in there.leftovers:
        yield "orphans", f"{names.of(row['document'])}: deleted, and left its {row['stage']} artifact"
    for count, what in ((there.unsourced, "chunks without a source"), (there.untold, "outcomes in the outbox")):
        if count:
            yield "orphans", f"{count} {what}"
