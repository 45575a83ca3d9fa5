"""`headrace publish` and `headrace unpublish`: files as events, and the outcomes of these events."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.exit_codes import IN_PART
from pipelines.cli.installation import opened
from pipelines.cli.options import AsJson, Tenant, principals
from pipelines.cli.output import line, out, print_json, progress, table, without

if TYPE_CHECKING:
    from events.outcomes import Outcomes
    from events.publish import Publisher
    from pipelines.app import Headrace

Source = Annotated[str, typer.Option(help="The documents' owner: the events' `source`.")]
Wait = Annotated[float | None, typer.Option(min=0, metavar="SECONDS", help="Wait up to SECONDS for outcomes.")]
Send = Callable[["Publisher", str], str]
"""Publish the event of one document. Returns the event's id."""

_SOURCE = "headrace:publish"


def publish(
    tenant: Tenant,
    paths: Annotated[list[Path], typer.Argument(exists=True, help="Files, or folders whose files are published.")],
    acl: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PRINCIPAL",
            help="A principal that may read; repeat it, or give a list; '' for nobody. Default: everyone in the tenant.",
        ),
    ] = None,
    sequence: Annotated[int | None, typer.Option(min=0, help="The documents' sequence. Default: the broker's offset.")] = None,
    source: Source = _SOURCE,
    wait: Wait = None,
    as_json: AsJson = False,
) -> None:
    """Publish files as upsert events. A file's id is its name, or its path below the given folder."""
    found = distinct(files(paths))
    readers = None if acl is None else principals("--acl", acl)

    def send(publisher: Publisher, name: str) -> str:
        path = found[name]
        # no media type: a guess by name differs between machines, and would make the same file another document
        return publisher.upsert(name, content=path.read_bytes(), file_name=path.name, acl=readers, sequence=sequence)

    _publish(tenant, source, list(found), send, wait=wait, as_json=as_json)


def unpublish(
    tenant: Tenant,
    ids: Annotated[list[str], typer.Argument(help="Document ids.")],
    sequence: Annotated[int | None, typer.Option(min=0, help="The deletes' sequence. Default: the broker's offset.")] = None,
    source: Source = _SOURCE,
    wait: Wait = None,
    as_json: AsJson = False,
) -> None:
    """Publish deletes of documents that this source owns."""
    _publish(
        tenant, source, ids, lambda publisher, name: publisher.delete(name, sequence=sequence), wait=wait, as_json=as_json, deletes=True
    )


def _publish(
    tenant: str, source: str, names: Sequence[str], send: Send, *, wait: float | None, as_json: bool, deletes: bool = False
) -> None:
    """Send each event, even if another one is refused. Prints the ids, or with `wait` the outcomes."""
    with opened() as headrace, progress(quiet=as_json) as report:
        headrace.database.get(tenant)
        with _subscribed(headrace, tenant, wait) as outcomes:
            rows = _send_all(headrace, tenant, source, names, send, report)
            if outcomes and wait is not None:
                report("waiting for outcomes")
                rows = _with_outcomes(rows, outcomes, wait)
        if deletes and wait is None:
            _tell_unknown(headrace, tenant, [row["document"] for row in rows if row["published"]])
    if as_json:
        print_json(rows)
    else:
        _print_published(rows)
    if not all(row["published"] and row.get("outcome", "") not in _NOT_DONE for row in rows):
        raise typer.Exit(IN_PART)


_NOT_DONE = (None, "dead-lettered", "unknown-document")
"""Outcomes that make the command end with IN_PART: none in time, refused, or nothing to delete."""


def _tell_unknown(headrace: Headrace, tenant: str, names: Sequence[str]) -> None:
    """Name the ids of which nothing has landed: their deletes are slips, or their documents are still in Kafka."""
    from core.errors import HeadraceError
    from pipelines.documents import find

    for name in names:
        try:
            find(headrace, tenant, name)
        except HeadraceError as error:
            if error.reason != "unknown-document":
                raise
            line(f"{name}: nothing of this id has landed; `--wait` tells whether the delete meets a document", err=True)


@contextmanager
def _subscribed(headrace: Headrace, tenant: str, wait: float | None) -> Iterator[Outcomes | None]:
    """The tenant's outcomes, subscribed to before anything is sent; None without `wait`."""
    from events.outcomes import Outcomes

    if wait is None:
        yield None
        return
    with Outcomes(headrace.endpoints.kafka_client(), tenant) as outcomes:
        yield outcomes


def _send_all(
    headrace: Headrace, tenant: str, source: str, names: Sequence[str], send: Send, report: Callable[[str], None]
) -> list[dict[str, Any]]:
    from events.publish import Publisher

    rows = []
    with Publisher(headrace.endpoints.kafka_client(), tenant, source) as publisher:
        for number, name in enumerate(names, 1):
            report(f"publishing {number} of {len(names)}")
            rows.append(_send(publisher, name, send))
    return rows


def _send(publisher: Publisher, name: str, send: Send) -> dict[str, Any]:
    from core.errors import ContractError, HeadraceError
    from core.texts import is_unicode

    if not is_unicode(name):  # no id of a document can be made of it, and an invented one would not be found again
        return _unpublished(name, reason="bad-file-name", detail="the file's name is not UTF-8. Rename the file")
    try:
        event = send(publisher, name)
    except OSError as error:
        return _unpublished(name, reason="file-not-readable", detail=error.strerror or type(error).__name__)
    except HeadraceError as error:
        if not (isinstance(error, ContractError) or error.reason == "event-too-large"):
            raise
        return _unpublished(name, reason=error.reason, detail=f"{error.detail}. {error.remedy.removesuffix('.')}")
    return {"document": name, "published": True, "event": event, "reason": None, "detail": None}


def _unpublished(name: str, *, reason: str, detail: str) -> dict[str, Any]:
    return {"document": name, "published": False, "event": None, "reason": reason, "detail": detail}


def _with_outcomes(rows: Sequence[dict[str, Any]], outcomes: Outcomes, wait: float) -> list[dict[str, Any]]:
    """Each row with the outcome of its event; `outcome` is None if it was not decided in time."""
    decided = outcomes.wait_for([row["event"] for row in rows if row["published"]], wait)
    known = {event: {"outcome": o.outcome, "reason": o.reason, "latency_s": o.latency_s} for event, o in decided.items()}
    return [row | known.get(row["event"], {"outcome": None, "latency_s": None}) for row in rows]


def _print_published(rows: Sequence[dict[str, Any]]) -> None:
    published = [row for row in rows if row["published"]]
    if any("outcome" in row for row in published):
        shown = [{**without(row, ("published", "event", "detail")), "outcome": row["outcome"] or "not decided yet"} for row in published]
        out().print(table(shown))
    else:
        for row in published:
            line(row["document"])
    for row in rows:
        if not row["published"]:
            line(f"not published: {row['document']}: {row['detail']} ({row['reason']})", err=True)


def files(paths: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """(document id, file): a file by its name, a folder's files by their path below it; hidden ones are omitted."""
    for path in paths:
        if not path.is_dir():
            yield path.name, path
        for below in sorted(path.rglob("*")) if path.is_dir() else []:
            parts = below.relative_to(path).parts
            if below.is_file() and not any(part.startswith(".") for part in parts):
                yield "/".join(parts), below


def distinct(found: Iterator[tuple[str, Path]]) -> dict[str, Path]:
    """Files by document id. Raises HeadraceError if two files have one id, or there are none."""
    from core.errors import HeadraceError

    by_id: dict[str, Path] = {}
    for name, path in found:
        if by_id.setdefault(name, path) != path:
            raise HeadraceError(
                f"two files would be the document {name!r}", reason="duplicate-id", remedy="Publish the folder above them instead."
            )
    if not by_id:
        raise HeadraceError("there is no file to publish", reason="no-files", remedy="Hidden files are omitted.")
    return by_id
