"""What an operator asks of one tenant: where it stands, why a document is where it is, and its dead letters.

Trying again is in `pipelines.operations.replay`, erasing in `pipelines.governance.erasure`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from msgspec import to_builtins

from core import artifacts
from core.errors import HeadraceError, Unavailable
from core.ledger import ledger
from core.records import decode
from core.sql import statements
from core.tenancy import Connection
from pipelines.operations.lag import landed
from pipelines.resources import Resources
from pipelines.stages.acceptance import Measured
from pipelines.stages.registry import NAMES


def overview(resources: Resources, tenant: str) -> dict[str, Any]:
    """Documents, chunks, what is not indexed yet and since when, open dead letters."""
    with resources.database.tenant(tenant) as connection:
        size, waiting = sizes(connection), landed(connection)
    return {"tenant": tenant, **size, "not_indexed": waiting["documents"], "oldest_not_indexed": waiting["oldest"]}


def sizes(connection: Connection) -> dict[str, Any]:
    """What there is of a tenant: documents, tombstones, chunks, open dead letters, and when the last event landed."""
    return {**_one(connection, "documents"), **_one(connection, "index_size")}


def find(resources: Resources, tenant: str, name: str) -> list[str]:
    """The keys of the documents that an id, a document's key or a chunk's id stands for. Raises HeadraceError where there is none.

    One that was refused at landing is found too: it has events and dead letters, but no state.
    """
    with resources.session(tenant).transaction() as connection:
        rows = connection.execute(_SQL["find"], {"keys": _keys_of(resources, tenant, name)}).fetchall()
    return sorted(row["document"] for row in rows) or _unknown(tenant)


def find_document(resources: Resources, tenant: str, name: str) -> str:
    """The key of the one document that has this id or, where none has, this key. Raises HeadraceError where there is none."""
    keys = _keys_of(resources, tenant, name)
    with resources.session(tenant).transaction() as connection:
        there = {row["document"] for row in connection.execute(_SQL["documents_by_key"], {"keys": keys})}
    found = [key for key in keys if key in there] or _unknown(tenant)
    return found[0]


def _keys_of(resources: Resources, tenant: str, name: str) -> list[str]:
    """What an id may stand for: first the key of the document that has it, then itself."""
    from events.digests import document_key

    return [document_key(name, resources.session(tenant).keys), name]


def _unknown(tenant: str) -> NoReturn:
    raise HeadraceError(
        f"tenant {tenant!r} knows nothing by that id",
        reason="unknown-document",
        remedy="An id is the event's subject, exactly; `headrace dead-letters list` shows events that were refused.",
    )


def explain(resources: Resources, tenant: str, name: str) -> list[dict[str, Any]]:
    """Per document that `name` stands for: its state, events, each stage's record, its signals, its place in index and graph, and why not.

    `state` is null where no event of it ever landed; `graph` has the one key `unavailable` where Neo4j does not answer.
    """
    return [_explained(resources, tenant, document) for document in find(resources, tenant, name)]


def _explained(resources: Resources, tenant: str, document: str) -> dict[str, Any]:
    values = {"document": document}
    with resources.session(tenant).transaction() as connection:
        told = {name: connection.execute(_SQL[name], values).fetchall() for name in ("state", "events", "placed", "letters_of")}
        stages = ledger.records(connection, document)
        signals = _signals(resources, tenant, connection, document)
    state = told["state"][0] if told["state"] else None
    return {
        "document": document,
        "verdict": verdict(state, stages, told["placed"]),
        "state": state,
        "events": told["events"],
        "stages": stages,
        "signals": signals,
        "index": told["placed"],
        "graph": _in_graph(resources, tenant, document),
        "dead_letters": told["letters_of"],
    }


def _signals(resources: Resources, tenant: str, connection: Connection, document: str) -> dict[str, Any]:
    """How well the parsed document could be read; nothing where none is kept."""
    payload = artifacts.get(connection, resources.session(tenant).keys, "parse", [document]).get(document)
    return {} if payload is None else flat(decode(payload, Measured))


def flat(measured: Measured) -> dict[str, Any]:
    """The signals that say something, each by a name of its own."""
    told = {"language": measured.language, **to_builtins(measured.signals)}
    nested = {f"{name}/{kind}": count for name, counts in told.items() if isinstance(counts, dict) for kind, count in counts.items()}
    return {name: value for name, value in told.items() if not isinstance(value, dict) and value not in (None, "")} | nested


def _in_graph(resources: Resources, tenant: str, document: str) -> dict[str, Any]:
    try:
        return dict(resources.models.projection.holds(tenant, document))
    except Unavailable as error:
        return {"unavailable": error.detail}


def verdict(state: dict[str, Any] | None, stages: Sequence[dict[str, Any]], placed: Sequence[dict[str, Any]]) -> str:
    """One sentence: searchable or not, and why."""
    if state is None:
        return "not searchable: every event of it was refused, see its dead letters"
    pending = _pending(state, stages)
    if state["deleted"]:
        return "deleted; its tombstone keeps the sequence" + (f"; still to pass: {', '.join(pending)}" if pending else "")
    before = [name for name in pending if name in _TO_SEARCH]
    if before:
        return f"{'an older version is searchable' if placed else 'not searchable'}: {_why(before[0], stages)}"
    return _found(state, placed) + (f"; the graph lags: {_why(pending[0], stages)}" if pending else "")


_TO_SEARCH = NAMES[: NAMES.index("index") + 1]


def _pending(state: dict[str, Any], stages: Sequence[dict[str, Any]]) -> list[str]:
    """The stages that this state of the document has not passed; of a deleted one those that still hold something of it."""
    status = {stage["stage"]: stage["status"] for stage in stages}
    return [name for name in NAMES if status.get(name, "done" if state["deleted"] else None) != "done"]


def _why(name: str, stages: Sequence[dict[str, Any]]) -> str:
    record = next((stage for stage in stages if stage["stage"] == name), None)
    if record and record["status"] in ("failed", "waiting"):
        return f"{name} {record['status']} with {record['reason']}"
    return f"waits for {name}; `headrace ingest` runs it"


def _found(state: dict[str, Any], placed: Sequence[dict[str, Any]]) -> str:
    if not state["acl"]:
        return "indexed, but its acl lets nobody read it"
    return "searchable" if any(place["chunks"] for place in placed) else "indexed, but it has no passage"


def letters(resources: Resources, tenant: str) -> list[dict[str, Any]]:
    """Open dead letters, newest first."""
    with resources.database.tenant(tenant) as connection:
        return connection.execute(_SQL["open_letters"]).fetchall()


def letter(resources: Resources, tenant: str, position: str) -> list[dict[str, Any]]:
    """What is known of the dead letters of one event, settled ones too. Raises HeadraceError where there is none."""
    with resources.database.tenant(tenant) as connection:
        return connection.execute(_SQL["letters_at"], place_of(position)).fetchall() or no_letter(position)


def no_letter(position: str) -> NoReturn:
    """Raises HeadraceError `unknown-dead-letter`."""
    raise HeadraceError(
        f"there is no open dead letter at {position}", reason="unknown-dead-letter", remedy="`headrace dead-letters list` shows them."
    )


def place_of(text: str) -> dict[str, int]:
    """`partition` and `offset` of a position as people write it. Raises HeadraceError `bad-position`."""
    partition, _, offset = text.partition(":")
    if not (partition.isdigit() and offset.isdigit()):
        raise HeadraceError(f"a position is PARTITION:OFFSET, was: {text!r}", reason="bad-position")
    return {"partition": int(partition), "offset": int(offset)}


def _one(connection: Connection, name: str, values: dict[str, Any] | None = None) -> dict[str, Any]:
    return connection.execute(_SQL[name], values).fetchall()[0]


_SQL = statements("pipelines.operations", "sql/explain.sql")
