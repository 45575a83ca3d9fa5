"""What happens to documents: publish, ingest, search, explain, erase."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipelines.cli.control import opened
from pipelines.cli.output import out, print_json, print_record, print_rows, progress, table


def publish(tenant: str, paths: Sequence[Path], *, acl: str | None, sequence: int | None, source: str, as_json: bool) -> None:
    from events.publish import Publisher

    principals = None if acl is None else [principal for principal in acl.split(",") if principal]
    names: list[str] = []
    with opened() as headrace:
        headrace.database.get(tenant)
        with Publisher(headrace.endpoints.kafka_client(), tenant, source) as publisher:
            for name, path in files(paths):
                publisher.upsert(name, content=path.read_bytes(), file_name=path.name, acl=principals, sequence=sequence)
                names.append(name)
    print_rows([{"published": name} for name in names], as_json=as_json, empty="no files found")


def unpublish(tenant: str, ids: Sequence[str], *, sequence: int | None, source: str, as_json: bool) -> None:
    from events.publish import Publisher

    with opened() as headrace:
        headrace.database.get(tenant)
        with Publisher(headrace.endpoints.kafka_client(), tenant, source) as publisher:
            for name in ids:
                publisher.delete(name, sequence=sequence)
    print_rows([{"delete published": name} for name in ids], as_json=as_json)


def files(paths: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """(document id, file): a file by its name, a folder's files by their path below it; hidden ones are left out."""
    for path in paths:
        if path.is_file():
            yield path.name, path
        for below in sorted(path.rglob("*")) if path.is_dir() else []:
            parts = below.relative_to(path).parts
            if below.is_file() and not any(part.startswith(".") for part in parts):
                yield "/".join(parts), below


def ingest(tenant: str | None, *, as_json: bool) -> None:
    results: dict[str, Any] = {}
    with opened() as headrace:
        names = [tenant] if tenant else [found.tenant for found in headrace.tenants()]
        for name in names:
            with progress(quiet=as_json) as tell:
                landed, reports = headrace.ingest(name, lambda stage, so_far, name=name: tell(f"{name}: {_said(stage, so_far)}"))
            results[name] = {
                "landed": {"events": landed.events, "fates": landed.fates, "reasons": landed.reasons},
                "stages": [stage_row(report) for report in reports.values()],
                "unavailable": sorted({report.unavailable for report in reports.values() if report.unavailable}),
            }
            if not as_json:
                _print_ingested(name, results[name])
    if as_json:
        print_json(results)


def stage_row(report: Any) -> dict[str, Any]:
    """A stage's report as a row: counts, reasons, what the stage counted itself."""
    counts = {name: getattr(report, name) for name in ("done", "deleted", "reaffirmed", "failed", "waiting", "superseded")}
    return {"stage": report.stage, **counts, "seconds": report.seconds, "reasons": dict(report.reasons), "counted": dict(report.tally)}


def _print_ingested(tenant: str, result: dict[str, Any]) -> None:
    landed = result["landed"]
    out().print(f"[bold]{tenant}[/bold]: {landed['events']} events landed", dict(landed["fates"]) or "")
    out().print(table(result["stages"]))
    for what in result["unavailable"]:
        out().print(f"[yellow]waits: {what}[/yellow]")


def _said(stage: str, so_far: Any) -> str:
    return f"{stage} {so_far.events if stage == 'land' else so_far.moved}"


def stream(seconds: float | None, *, as_json: bool) -> None:
    from pipelines import streaming

    with opened() as headrace:
        totals = streaming.run(headrace, seconds, None if as_json else _print_batch)
    print_record(totals, as_json=as_json, title="Streamed")


def _print_batch(batch: dict[str, Any]) -> None:
    out().print("  ".join(f"{key} {value}" for key, value in batch.items()))


def search(tenant: str, query: str, *, principals: str, top: int, as_json: bool) -> None:
    import msgspec

    from pipelines.ask import ask

    with opened() as headrace:
        passages = ask(headrace, tenant, query, [p for p in principals.split(",") if p], top)
    if as_json:
        print_json([msgspec.to_builtins(passage) for passage in passages])
        return
    for rank, passage in enumerate(passages, 1):
        out().print(f"[bold]{rank}.[/bold] [cyan]{passage.score:.3f}[/cyan] {' > '.join(passage.heading_path)}", highlight=False)
        out().print(passage.text, markup=False, highlight=False)
        for cited in passage.citations:
            page = f", page {cited.page}" if cited.page else ""
            out().print(
                f"   — {cited.title or cited.document} ({cited.document}{page}, chunk {passage.chunk})\n", style="dim", markup=False
            )
    if not passages:
        out().print("[dim]nothing that this caller may read[/dim]")


def explain(tenant: str, name: str, *, as_json: bool) -> None:
    from pipelines.operate import explain as why

    with opened() as headrace:
        found = why(headrace, tenant, name)
    if as_json:
        print_json(found)
        return
    for document in found:
        out().print(f"[bold]{document['document']}[/bold]: {document['verdict']}")
        print_record(document["state"], as_json=False, title="State")
        for part in ("events", "stages", "index", "dead_letters"):
            if document[part]:
                out().print(table(document[part], part.replace("_", " ").capitalize()))
        print_record(document["graph"], as_json=False, title="Graph")


def erase(tenant: str, name: str, receipt: Path, *, as_json: bool) -> None:
    from pipelines.operate import erase as erase_document

    with opened() as headrace:
        written = erase_document(headrace, tenant, name)
    receipt.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    if as_json:
        print_json(written)
        return
    rows = [{"store": store, **counts} for store, counts in written["stores"].items()]
    out().print(table(rows, f"Erased {written['document_key']}; receipt in {receipt}"))
