"""`headrace dead-letters`: list, show, dismiss. Retrying them is `headrace replay dead-letters`."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.installation import opened
from pipelines.cli.options import AsJson, Tenant
from pipelines.cli.output import builtins, print_json, print_record, print_rows, without

app = typer.Typer(name="dead-letters", help="What could not be processed, and why.", no_args_is_help=True)

Position = Annotated[str, typer.Argument(metavar="POSITION", help="PARTITION:OFFSET, as `list` prints it.")]


@app.command("list")
def list_open(tenant: Tenant, as_json: AsJson = False) -> None:
    """Show open dead letters, newest first."""
    from pipelines.operations.dead_letters import open_letters

    with opened() as headrace:
        rows = [builtins(letter) for letter in open_letters(headrace, tenant)]
    shown = rows if as_json else [without(row, ("document", "first_at")) for row in rows]
    print_rows(shown, as_json=as_json, title="Dead letters", empty="no open dead letters")


@app.command("show")
def show(tenant: Tenant, position: Position, as_json: AsJson = False) -> None:
    """Show everything known about one event's dead letters. Never the payload."""
    from pipelines.operations import dead_letters

    with opened() as headrace:
        rows = [builtins(letter) for letter in dead_letters.at(headrace, tenant, position)]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        print_record(row, as_json=False, title=f"Dead letter {position}")


@app.command("dismiss")
def dismiss(tenant: Tenant, position: Position, as_json: AsJson = False) -> None:
    """Mark the dead letter of a lost or refused event as resolved, without retrying it."""
    from events import positions
    from pipelines.governance import audit
    from pipelines.operations.dead_letters import place_of, unknown

    place = place_of(position)
    with opened() as headrace:
        session = headrace.session(tenant)
        with audit.recorded(headrace, "dismiss", tenant, position=position), session.transaction() as connection:
            if not positions.dismiss(connection, place["partition"], place["offset"]):
                raise unknown(position)
    print_record({"tenant": tenant, "dismissed": position}, as_json=as_json)
