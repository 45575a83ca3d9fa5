"""What happens to documents: publish, ingest, stream, search, explain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pipelines.cli.control import IN_PART, opened
from pipelines.cli.output import builtins, line, out, print_json, print_record, progress, table, without

if TYPE_CHECKING:
    from events.outcomes import Outcomes
    from pipelines.app import Headrace
    from retrieval.search import Passage


def publish(
    tenant: str, paths: Sequence[Path], *, acl: str | None, sequence: int | None, source: str, wait: float | None, as_json: bool
) -> None:
    from events.publish import Publisher

    found = distinct(files(paths))

    def send(publisher: Publisher, name: str) -> str:
        path = found[name]
        # the parser finds out what it is: a guess by name differs between machines, and would make the same file another document
        return publisher.upsert(name, content=path.read_bytes(), file_name=path.name, acl=_principals(acl), sequence=sequence)

    _publish(tenant, source, list(found), send, wait=wait, as_json=as_json)


def unpublish(tenant: str, ids: Sequence[str], *, sequence: int | None, source: str, wait: float | None, as_json: bool) -> None:
    _publish(tenant, source, ids, lambda publisher, name: publisher.delete(name, sequence=sequence), wait=wait, as_json=as_json)


def _publish(tenant: str, source: str, names: Sequence[str], send: Callable[[Any, str], str], *, wait: float | None, as_json: bool) -> None:
    """Send each; one that is refused stops no other. The ids that the broker has are printed, or what became of them."""
    with opened() as headrace, progress(quiet=as_json) as tell:
        headrace.database.get(tenant)
        with _heard(headrace, tenant, wait) as outcomes:
            rows = _sent_all(headrace, tenant, source, names, send, tell)
            if outcomes and wait is not None:
                tell("waiting for the outcomes")
                rows = _with_outcomes(rows, outcomes, wait)
    if as_json:
        print_json(rows)
    else:
        _print_published(rows)
    if not all(row["published"] and row.get("outcome", "") not in _NOT_WELL for row in rows):
        raise typer.Exit(IN_PART)


_NOT_WELL = (None, "dead-lettered")
"""Outcomes that are not what was asked for: none in time, or refused."""


@contextmanager
def _heard(headrace: Headrace, tenant: str, wait: float | None) -> Iterator[Outcomes | None]:
    """Whoever waits listens before anything is sent."""
    from events.outcomes import Outcomes

    if wait is None:
        yield None
        return
    with Outcomes(headrace.endpoints.kafka_client(), tenant) as outcomes:
        yield outcomes


def _sent_all(
    headrace: Headrace, tenant: str, source: str, names: Sequence[str], send: Callable[[Any, str], str], tell: Callable[[str], None]
) -> list[dict[str, Any]]:
    from events.publish import Publisher

    with Publisher(headrace.endpoints.kafka_client(), tenant, source) as publisher:
        return [_sent(publisher, name, send) for name in _counted(names, tell)]


def _sent(publisher: Any, name: str, send: Callable[[Any, str], str]) -> dict[str, Any]:
    from core.errors import ContractError, HeadraceError

    try:
        event = send(publisher, name)
    except OSError as error:
        return _unsent(name, reason="file-not-readable", detail=error.strerror or type(error).__name__)
    except HeadraceError as error:
        if not (isinstance(error, ContractError) or error.reason == "event-too-large"):
            raise
        return _unsent(name, reason=error.reason, detail=f"{error.detail}. {error.remedy.removesuffix('.')}")
    return {"document": name, "published": True, "event": event, "reason": None, "detail": None}


def _unsent(name: str, *, reason: str, detail: str) -> dict[str, Any]:
    return {"document": name, "published": False, "event": None, "reason": reason, "detail": detail}


def _with_outcomes(rows: Sequence[dict[str, Any]], outcomes: Outcomes, wait: float) -> list[dict[str, Any]]:
    """Each row with what became of its event; `outcome` is None where that was not told in time."""
    found = outcomes.wait_for([row["event"] for row in rows if row["published"]], wait)
    told = {event: {"outcome": o.outcome, "reason": o.reason, "latency_s": o.latency_s} for event, o in found.items()}
    return [row | told.get(row["event"], {"outcome": None, "latency_s": None}) for row in rows]


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
            typer.echo(f"not published: {row['document']}: {row['detail']} ({row['reason']})", err=True)


def _counted(names: Sequence[str], tell: Callable[[str], None]) -> Iterator[str]:
    for number, name in enumerate(names, 1):
        tell(f"publishing {number} of {len(names)}")
        yield name


def files(paths: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """(document id, file): a file by its name, a folder's files by their path below it; hidden ones are left out."""
    for path in paths:
        if not path.is_dir():
            yield path.name, path
        for below in sorted(path.rglob("*")) if path.is_dir() else []:
            parts = below.relative_to(path).parts
            if below.is_file() and not any(part.startswith(".") for part in parts):
                yield "/".join(parts), below


def distinct(found: Iterator[tuple[str, Path]]) -> dict[str, Path]:
    """By id. Raises HeadraceError where two files would be one document, or there is none."""
    from core.errors import HeadraceError

    by_id: dict[str, Path] = {}
    for name, path in found:
        if by_id.setdefault(name, path) != path:
            raise HeadraceError(
                f"two files would be the document {name!r}", reason="duplicate-id", remedy="Publish the folder above them instead."
            )
    if not by_id:
        raise HeadraceError("there is no file to publish", reason="no-files", remedy="Hidden files are left out.")
    return by_id


def ingest(tenant: str | None, *, as_json: bool) -> None:
    results: dict[str, Any] = {}
    with opened() as headrace:
        names = [tenant] if tenant else [found.tenant for found in headrace.tenants()]
        for name in names:
            results[name] = _ingested(headrace, name, quiet=as_json)
            if not as_json:
                _print_ingested(name, results[name])
    if as_json:
        print_json(results)
    elif not names:
        out().print("[dim]no tenants yet: `headrace tenant add NAME`[/dim]")
    if any(result["unavailable"] for result in results.values()):
        raise typer.Exit(IN_PART)


def _ingested(headrace: Headrace, tenant: str, *, quiet: bool) -> dict[str, Any]:
    with progress(quiet=quiet) as tell:
        tell(f"{tenant}: land")
        landed, reports = headrace.ingest(tenant, lambda stage, so_far: tell(f"{tenant}: {_said(stage, so_far)}"))
    return {
        "landed": {"events": landed.events, "fates": landed.fates, "reasons": landed.reasons},
        "stages": [stage_row(report) for report in reports.values()],
        "unavailable": sorted({report.unavailable for report in reports.values() if report.unavailable}),
    }


_COUNTS = ("done", "deleted", "revalidated", "failed", "waiting", "superseded")


def stage_row(report: Any) -> dict[str, Any]:
    """A stage's report as a row: counts, reasons, what the stage counted itself."""
    counts = {name: getattr(report, name) for name in _COUNTS}
    return {"stage": report.stage, **counts, "seconds": report.seconds, "reasons": dict(report.reasons), "counted": dict(report.tally)}


def _print_ingested(tenant: str, result: dict[str, Any]) -> None:
    landed, stages = result["landed"], result["stages"]
    silent = [name for name in _COUNTS[1:] if not any(stage[name] for stage in stages)]
    told = [f"{count} {name}" for name, count in (landed["fates"] | landed["reasons"]).items()]
    out().print(f"[bold]{tenant}[/bold]: {landed['events']} events{': ' if told else ''}{', '.join(told)}")
    out().print(table([without(stage, silent) for stage in stages]))
    for what in result["unavailable"]:
        out().print(f"waits: {what}", markup=False, style="yellow")


def _said(stage: str, so_far: Any) -> str:
    if stage == "land":
        return f"land, {so_far.events} events"
    return f"{stage}, {so_far.moved} documents, {so_far.seconds:.0f} s"


def stream(seconds: float | None, *, as_json: bool) -> None:
    from pipelines.stream import engine
    from pipelines.stream.observer import Observer

    class Terminal(Observer):
        def noted(self, event: dict[str, Any]) -> None:
            if as_json:
                print_json(event)
            else:
                line("  ".join(f"{key} {value}" for key, value in event.items()))

    with opened() as headrace:
        totals = engine.run(headrace, seconds, Terminal())
    if as_json:
        print_json({"totals": totals})
    else:
        print_record(totals, as_json=False, title="Streamed")


def search(tenant: str, query: str, *, principals: str, top: int, as_json: bool) -> None:
    import msgspec

    from pipelines.operations.search import ask

    with opened() as headrace, progress(quiet=as_json) as tell:
        tell("searching …")
        passages = ask(headrace, tenant, query, _principals(principals) or [], top)
    if as_json:
        print_json([msgspec.to_builtins(passage) for passage in passages])
        return
    for rank, passage in enumerate(passages, 1):
        _print_passage(rank, passage)
    if not passages:
        out().print("[dim]nothing that this caller may read[/dim]")


def _print_passage(rank: int, passage: Passage) -> None:
    from rich.markup import escape

    out().print(f"[bold]{rank}.[/bold] [cyan]{passage.score:.3f}[/cyan] {escape(' > '.join(passage.heading_path))}")
    out().print(passage.text, markup=False)
    for cited in passage.citations:
        page = f", page {cited.page}" if cited.page else ""
        out().print(f"   — {cited.title or cited.document} ({cited.document}{page})", style="dim", markup=False)
    out().print(f"   chunk {passage.chunk}\n", style="dim", markup=False)


def explain(tenant: str, name: str, *, as_json: bool) -> None:
    from pipelines.operations.explain import explain as why

    with opened() as headrace:
        found = [builtins(document) for document in why(headrace, tenant, name)]
    if as_json:
        print_json(found)
        return
    for document in found:
        out().print(f"[bold]{document['document']}[/bold]: {document['verdict']}")
        for part in ("state", "events", "stages", "signals", "index", "graph", "dead_letters"):
            _print_part(part, document[part])


_FOR_MACHINES = {
    "state": ("document", "revision", "sequence_explicit", "landed_at"),
    "stages": ("input_key", "fingerprint", "output_key"),
}


def _print_part(part: str, told: Any) -> None:
    title, hidden = part.replace("_", " ").capitalize(), _FOR_MACHINES.get(part, ())
    if isinstance(told, dict) and told:
        print_record(without(told, hidden), as_json=False, title=title)
    elif told:
        out().print(table([without(row, hidden) for row in told], title))


def _principals(text: str | None) -> list[str] | None:
    return None if text is None else [principal.strip() for principal in text.split(",") if principal.strip()]
