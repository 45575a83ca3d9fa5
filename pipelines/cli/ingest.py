"""`headrace ingest`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from pipelines.cli.attempts import NO_TENANTS, attempts, end
from pipelines.cli.exit_codes import IN_PART
from pipelines.cli.installation import opened
from pipelines.cli.options import AsJson, OneTenant
from pipelines.cli.output import builtins, out, print_json, progress, table, without

if TYPE_CHECKING:
    from core.ledger.stage import Report
    from pipelines.app import Headrace
    from pipelines.each_tenant import Attempt


def ingest(tenant: OneTenant = None, as_json: AsJson = False) -> None:
    """Land what is in Kafka and run every stage until nothing is stale. A tenant in trouble stops no other."""
    made: list[Attempt[dict[str, Any]]] = []
    with opened() as headrace:
        for attempt in attempts(headrace, tenant, lambda name: _ingest(headrace, name, quiet=as_json)):
            made.append(attempt)
            if attempt.result and not as_json:
                _print_result(attempt.tenant, attempt.result)
    if as_json:
        print_json({attempt.tenant: {**(attempt.result or _NOTHING), "error": builtins(attempt.trouble)} for attempt in made})
    elif not made:
        out().print(f"[dim]{NO_TENANTS}[/dim]")
    elif len(made) > 1:
        out().print(table([_overview(attempt) for attempt in made], "Tenants"))
    end(made, as_json=as_json)
    if any(attempt.done["unavailable"] for attempt in made):
        raise typer.Exit(IN_PART)


_NOTHING: dict[str, Any] = {"landed": None, "stages": [], "unavailable": []}
"""The result of a tenant whose attempt ended with an error."""


def _ingest(headrace: Headrace, tenant: str, *, quiet: bool) -> dict[str, Any]:
    with progress(quiet=quiet) as report:
        report(f"{tenant}: land")
        landed, reports = headrace.ingest(tenant, lambda stage, so_far: report(f"{tenant}: {_progress_line(stage, so_far)}"))
    return {
        "landed": {"events": landed.events, "fates": landed.fates, "reasons": landed.reasons},
        "stages": [stage_row(stage) for stage in reports.values()],
        "unavailable": sorted({stage.unavailable for stage in reports.values() if stage.unavailable}),
    }


def _overview(attempt: Attempt[dict[str, Any]]) -> dict[str, Any]:
    """One line for what became of a tenant."""
    result = attempt.result or _NOTHING
    index: dict[str, Any] = next((stage for stage in result["stages"] if stage["stage"] == "index"), {})
    return {
        "tenant": attempt.tenant,
        "events": result["landed"] and result["landed"]["events"],
        "indexed": index.get("done"),
        "deleted": index.get("deleted"),
        "failed": sum(stage["failed"] for stage in result["stages"]) if result["stages"] else None,
        "waits": result["unavailable"] or None,
        "trouble": attempt.error and attempt.error.reason,
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
