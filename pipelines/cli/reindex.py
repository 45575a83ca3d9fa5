"""`headrace reindex`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.exit_codes import IN_PART
from pipelines.cli.installation import opened
from pipelines.cli.options import AsJson, Tenant
from pipelines.cli.output import builtins, out, print_json, print_record, progress, table, without

if TYPE_CHECKING:
    from core.ledger.stage import Report
    from pipelines.app import Headrace
    from pipelines.operations.reindex import Status


def reindex(
    tenant: Tenant,
    model: Annotated[str | None, typer.Option(help="The embedding model of the new generation.")] = None,
    revision: Annotated[str | None, typer.Option(help="The model's revision.")] = None,
    chunker: Annotated[str | None, typer.Option(metavar="STRATEGY", help="Its chunking strategy.")] = None,
    queries: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Canary queries, a JSON object a line, for this and later comparisons.")
    ] = None,
    rollback: Annotated[bool, typer.Option("--rollback", help="Switch back; or give up what is not switched to yet.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Only show where it is.")] = False,
    as_json: AsJson = False,
) -> None:
    """Build another generation of the index beside the active one, compare them, and switch if the comparison passes."""
    if (rollback or status) and (model or revision or chunker or queries or (rollback and status)):
        raise typer.BadParameter("--rollback and --status go with no other option")
    with opened() as headrace:
        if queries:
            _store(headrace, tenant, queries)
        if rollback:
            done = _roll_back(headrace, tenant, quiet=as_json)
        else:
            done = status or _build(headrace, tenant, (model, revision, chunker), quiet=as_json, stored=queries is not None)
        found = _status(headrace, tenant)
    _print(tenant, found, as_json=as_json)
    if not done or (not status and found is not None and found.state == "refused"):
        raise typer.Exit(IN_PART)


def _store(headrace: Headrace, tenant: str, queries: Path) -> None:
    from pipelines.operations import canaries

    # not in clear anywhere, and so that a byte that is no UTF-8 is refused as one
    lines = queries.read_text(encoding="utf-8", errors="replace").split("\n")
    canaries.replace(headrace, tenant, canaries.parse(lines))


def _build(headrace: Headrace, tenant: str, given: tuple[str | None, str | None, str | None], *, quiet: bool, stored: bool) -> bool:
    """Build as far as possible. Returns whether nothing is left to do."""
    from pipelines.operations import reindex

    before = reindex.status(headrace, tenant)
    if stored and not any(given) and (before is None or before.state not in ("building", "refused")):
        return True
    reindex.request(headrace, tenant, *given)
    with progress(quiet=quiet) as report:
        report(f"{tenant}: reindex")
        reindex.advance(headrace, headrace.session(tenant), lambda so_far: report(_progress_line(tenant, so_far)))
    after = reindex.status(headrace, tenant)
    return after is not None and after.state != "building"


def _roll_back(headrace: Headrace, tenant: str, *, quiet: bool) -> bool:
    from pipelines.operations import reindex

    with progress(quiet=quiet) as report:
        report(f"{tenant}: back")
        return reindex.rollback(headrace, tenant, lambda so_far: report(_progress_line(tenant, so_far)))


def _status(headrace: Headrace, tenant: str) -> Status | None:
    from pipelines.operations import reindex

    return reindex.status(headrace, tenant)


def _progress_line(tenant: str, so_far: Report) -> str:
    return f"{tenant}: reindex, {so_far.moved} documents, {so_far.tally['embedded']} texts embedded, {so_far.seconds:.0f} s"


def _print(tenant: str, found: Status | None, *, as_json: bool) -> None:
    if as_json:
        print_json(builtins(found))
    elif found is None:
        out().print(f"[dim]nothing was built beside the index of {tenant}[/dim]")
    else:
        print_record(without(builtins(found), ("comparison",)), as_json=False, title="Beside the active generation")
        _print_comparison(found)


def _print_comparison(found: Status) -> None:
    compared = found.comparison
    if compared is None:
        return
    asked = "titles and headings" if compared.sampled else f"canary queries, {compared.judged} of them judged"
    if compared.measures:
        out().print(table([_row(measure) for measure in compared.measures], f"Compared on {compared.queries} {asked}"))
    for reason, documents in compared.refused.items():
        out().print(f"leave the search: {documents} documents, {reason}", markup=False, style="yellow")


def _row(measure: Any) -> dict[str, Any]:
    least = {"at least": measure.least, "": "" if measure.least is None else "passed" if measure.passed else "not passed"}
    return {"measure": measure.name, "active before": measure.active, "new": measure.new, **least}
