"""`headrace audit`: list, verify."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from pipelines.cli.exit_codes import ANSWER_IS_NO
from pipelines.cli.installation import opened
from pipelines.cli.options import AsJson
from pipelines.cli.output import print_record, print_rows

app = typer.Typer(name="audit", help="Who erased, replayed, released, dismissed or configured what.", no_args_is_help=True)


_COLUMNS = ("number", "at", "actor", "action", "state", "tenant", "details")
"""For people; `--json` has the hash too."""


@app.command("list")
def list_entries(
    tenant: Annotated[str | None, typer.Option("--tenant", "-t", help="One tenant, which may be removed. Default: all.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The number of entries.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show who did what, newest first."""
    from pipelines.governance.audit import entries

    with opened() as headrace:
        rows = entries(headrace, tenant, limit)
    shown = rows if as_json else [{name: row[name] for name in _COLUMNS} for row in rows]
    print_rows(shown, as_json=as_json, title="Audit log", empty="no entries yet")


@app.command("verify")
def verify(
    mark: Annotated[
        str | None, typer.Option(metavar="NUMBER:HASH", help="The mark of an entry, kept elsewhere: verify that the entry still exists.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify the log's chain from its beginning: was an entry changed, removed, or added without the master key?"""
    from pipelines.governance import audit

    kept = None if mark is None else audit.parse_mark(mark)
    with opened() as headrace:
        verdict = audit.verify(headrace, kept)
    print_record({"whole": verdict.whole, **asdict(verdict)}, as_json=as_json, title="Audit log")
    if not verdict.whole:
        raise typer.Exit(ANSWER_IS_NO)
