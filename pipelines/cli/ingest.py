"""`headrace ingest`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from pipelines.cli.exit_codes import IN_PART
from pipelines.cli.installation import names, opened
from pipelines.cli.options import AsJson, OneTenant
from pipelines.cli.output import out, print_json, progress, table, without
from pipelines.cli.tenants import NO_TENANTS

if TYPE_CHECKING:
    from core.ledger.stage import Report
    from pipelines.app import Headrace


def ingest(tenant: OneTenant = None, as_json: AsJson = False) -> None:
    """Land what is in Kafka and run every stage until nothing is stale."""
    results: dict[str, Any] = {}
    with opened() as headrace:
        for name in names(headrace, tenant):
            results[name] = _ingest(headrace, name, quiet=as_json)
            if not as_json:
                _print_result(name, results[name])
    if as_json:
        print_json(results)
    elif not results:
        out().print(f"[dim]{NO_TENANTS}[/dim]")
    if any(result["unavailable"] for result in results.values()):
        raise typer.Exit(IN_PART)


def _ingest(headrace: Headrace, tenant: str, *, quiet: bool) -> dict[str, Any]:
    with progress(quiet=quiet) as report:
        report(f"{tenant}: land")
        landed, reports = headrace.ingest(tenant, lambda stage, so_far: report(f"{tenant}: {_progress_line(stage, so_far)}"))
    return {
        "landed": {"events": landed.events, "fates": landed.fates, "reasons": landed.reasons},
        "stages": [stage_row(stage) for stage in reports.values()],
        "unavailable": sorted({stage.unavailable for stage in reports.values() if stage.unavailable}),
    }


_COUNTS = ("done", "deleted", "revalidated", "failed", "waiting", "superseded")


def stage_row(report: Report) -> dict[str, Any]:
    """A stage's report as a row: counts, seconds, reasons, and the stage's own counts."""
    counts = {name: getattr(report, name) for name in _COUNTS}
    return {"stage": report.stage, **counts, "seconds": report.seconds, "reasons": dict(report.reasons), "counted": dict(report.tally)}


def _print_result(tenant: str, result: dict[str, Any]) -> None:
    landed, stages = result["landed"], result["stages"]
    empty = [name for name in _COUNTS[1:] if not any(stage[name] for stage in stages)]
    counts = [f"{count} {name}" for name, count in (landed["fates"] | landed["reasons"]).items()]
    out().print(f"[bold]{tenant}[/bold]: {landed['events']} events{': ' if counts else ''}{', '.join(counts)}")
    out().print(table([without(stage, empty) for stage in stages]))
    for unavailable in result["unavailable"]:
        out().print(f"waits: {unavailable}", markup=False, style="yellow")


def _progress_line(stage: str, so_far: Any) -> str:
    if stage == "land":
        return f"land, {so_far.events} events"
    return f"{stage}, {so_far.moved} documents, {so_far.seconds:.0f} s"
