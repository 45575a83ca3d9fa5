"""What an operator asks of one tenant: where it stands, why a document is where it is, its dead letters, and to erase."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from core import ledger
from core.errors import HeadraceError
from core.sql import statements
from core.stage import run
from core.tenancy import Connection
from pipelines.app import Headrace
from pipelines.way import NAMES


def overview(headrace: Headrace, tenant: str) -> dict[str, Any]:
    """Documents, chunks, what is not indexed yet and since when, open dead letters."""
    with headrace.session(tenant).transaction() as connection:
        rows = [_one(connection, name) for name in ("documents", "index_size", "oldest_unindexed")]
    documents, size, waiting = rows
    return {"tenant": tenant, **documents, **size, "not_indexed": waiting["documents"], "oldest_not_indexed": waiting["oldest"]}


def find(headrace: Headrace, tenant: str, name: str) -> list[str]:
    """The keys of the documents that an id, a document's key or a chunk's id stands for. Raises HeadraceError where there is none."""
    from events.landing import document_key

    session = headrace.session(tenant)
    with session.transaction() as connection:
        rows = connection.execute(_sql("find"), {"keys": [name, document_key(name, session.keys)]}).fetchall()
    if not rows:
        raise HeadraceError(
            f"tenant {tenant!r} knows no document or chunk by that id",
            reason="unknown-document",
            remedy="An id is the event's subject, exactly; `headrace dead-letters list` shows events that were refused.",
        )
    return sorted(row["document"] for row in rows)


def explain(headrace: Headrace, tenant: str, name: str) -> list[dict[str, Any]]:
    """Per document that `name` stands for: its state, events, each stage's record, its place in index and graph, and why not."""
    return [_explained(headrace, tenant, document) for document in find(headrace, tenant, name)]


def _explained(headrace: Headrace, tenant: str, document: str) -> dict[str, Any]:
    values = {"document": document}
    with headrace.session(tenant).transaction() as connection:
        state = _one(connection, "state", values)
        told = {name: connection.execute(_sql(name), values).fetchall() for name in ("events", "placed", "letters_of")}
        stages = ledger.records(connection, document)
    return {
        "document": document,
        "verdict": verdict(state, stages, told["placed"]),
        "state": state,
        "events": told["events"],
        "stages": stages,
        "index": told["placed"],
        "graph": headrace.models.projection.holds(tenant, document),
        "dead_letters": told["letters_of"],
    }


def verdict(state: dict[str, Any], stages: Sequence[dict[str, Any]], placed: Sequence[dict[str, Any]]) -> str:
    """One sentence: searchable or not, and why."""
    failed = [stage for stage in stages if stage["status"] in ("failed", "waiting")]
    behind = [stage["stage"] for stage in stages if stage["status"] == "behind"]
    if state["deleted"]:
        return "deleted; its tombstone keeps the sequence" + (f"; still to pass: {', '.join(behind)}" if behind else "")
    shown = "an older version is searchable" if placed else "not searchable"
    if failed:
        return f"{shown}: {failed[0]['stage']} {failed[0]['status']} with {failed[0]['reason']}"
    done = {stage["stage"] for stage in stages if stage["status"] == "done"}
    missing = [name for name in NAMES if name not in done]
    if missing:
        return f"{shown}: waits for {missing[0]}; `headrace ingest` runs it"
    return "searchable"


def letters(headrace: Headrace, tenant: str) -> list[dict[str, Any]]:
    """Open dead letters, newest first."""
    with headrace.session(tenant).transaction() as connection:
        return connection.execute(_sql("open_letters")).fetchall()


def letter(headrace: Headrace, tenant: str, position: str) -> list[dict[str, Any]]:
    """What is known of the dead letters of one event. Raises HeadraceError where there is none."""
    with headrace.session(tenant).transaction() as connection:
        rows = connection.execute(_sql("letters_at"), _position(position)).fetchall()
    if not rows:
        raise HeadraceError(f"there is no dead letter at {position}", reason="unknown-dead-letter")
    return rows


def replay(headrace: Headrace, tenant: str, positions: Sequence[str]) -> dict[str, int]:
    """Try these dead letters (or all that are open) again.

    What landing refused is read from Kafka and landed once more, and what a stage refused is stale again: `ingest` takes it.
    """
    rows = [row for row in letters(headrace, tenant) if not positions or row["position"] in positions]
    counts = {"landed": 0, "gone": 0, "stages": 0}
    for row in rows:
        if row["stage"] == "land":
            counts[_land_again(headrace, tenant, row["position"])] += 1
        else:
            with headrace.session(tenant).transaction() as connection:
                counts["stages"] += ledger.again(connection, [row["document"]], row["stage"])
    return counts


def _land_again(headrace: Headrace, tenant: str, position: str) -> str:
    from events.contract import topic_of
    from events.landing import land_records

    session, place = headrace.session(tenant), _position(position)
    record = headrace.reader.read_one(topic_of(tenant), place["partition"], place["offset"])
    if record is None:
        return "gone"
    with session.transaction() as connection:
        connection.execute(_sql("settle"), place)
        land_records(connection, session.keys, [record])
    return "landed"


def erase(headrace: Headrace, tenant: str, name: str) -> dict[str, Any]:
    """Take one document out of every store and give the receipt: counts by store before and after, nothing that was erased.

    Its tombstone keeps the sequence, so that an older event cannot bring it back. Raises Unavailable where Neo4j is away:
    the document is hidden from every search by then, and erasing again goes on where it stopped.
    """
    document = find(headrace, tenant, name)[0]
    before = _holdings(headrace, tenant, document)
    with headrace.session(tenant).transaction() as connection:
        for statement in ("bury_state", "hide"):
            connection.execute(_sql(statement), {"document": document})
        ledger.fall_behind(connection, [document])
    _forget(headrace, tenant, document)
    with headrace.session(tenant).transaction() as connection:
        for statement in ("erase_events", "erase_letters", "erase_artifacts"):
            connection.execute(_sql(statement), {"document": document})
        sequence = _one(connection, "state", {"document": document})["sequence"]
    after = _holdings(headrace, tenant, document)
    return {
        "tenant": tenant,
        "document_key": document,
        "erased_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "tombstone_sequence": sequence,
        "stores": {store: {"before": before[store], "after": after[store]} for store in before},
        "complete": not any(after.values()),
        "not_covered": "Kafka keeps the document's events until the topic's retention; the source system's copy is the source's.",
    }


def _forget(headrace: Headrace, tenant: str, document: str) -> None:
    """Every stage's own delete, for this document alone."""
    session = headrace.session(tenant)
    for name in NAMES:
        report = run(headrace.way.stage(name), session, only=[document])
        if report.unavailable:
            raise HeadraceError(report.unavailable, reason="unavailable", remedy="Erase again when it answers.")


def _holdings(headrace: Headrace, tenant: str, document: str) -> dict[str, int]:
    with headrace.session(tenant).transaction() as connection:
        rows = _one(connection, "holdings", {"document": document})
    graph = headrace.models.projection.holds(tenant, document)
    # a tombstone in Neo4j is a key and a version, kept so that a late write cannot bring the document back
    return {**rows, "graph": sum(count for what, count in graph.items() if what != "tombstones")}


def _position(text: str) -> dict[str, int]:
    partition, _, offset = text.partition(":")
    if not (partition.isdigit() and offset.isdigit()):
        raise HeadraceError(f"a position is PARTITION:OFFSET, was: {text!r}", reason="bad-position")
    return {"partition": int(partition), "offset": int(offset)}


def _one(connection: Connection, name: str, values: dict[str, Any] | None = None) -> dict[str, Any]:
    return connection.execute(_sql(name), values).fetchall()[0]


def _sql(name: str) -> Any:
    return statements("pipelines", "sql/operate.sql")[name]
