"""`headrace api-key`: add, list, revoke."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.installation import opened
from pipelines.cli.options import AsJson, OneTenant, Tenant, callers_principals
from pipelines.cli.output import builtins, print_record, print_rows

app = typer.Typer(name="api-key", help="Keys of programs that call `headrace serve`.", no_args_is_help=True)


@app.command("add")
def add(
    tenant: Tenant,
    caller: Annotated[
        list[str] | None, typer.Option("--as", metavar="PRINCIPAL", help="A principal that the key stands for; repeat it, or give a list.")
    ] = None,
    rate: Annotated[float, typer.Option(min=0.01, max=100_000, help="Requests a second, at most.")] = 10,
    days: Annotated[int, typer.Option(min=1, max=3650, help="The key expires after this many days.")] = 90,
    note: Annotated[str, typer.Option(metavar="TEXT", help="What it is for.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make a key for one tenant and a list of principals. It is shown once."""
    from pipelines.governance import api_keys

    readers = callers_principals("--as", caller or ())
    with opened() as headrace:
        made, text = api_keys.add(headrace, tenant, readers, rate=rate, days=days, note=note)
    print_record({"api_key": text, **builtins(made)}, as_json=as_json, title="Keep it now: it is shown this once")


@app.command("list")
def list_all(tenant: OneTenant = None, as_json: AsJson = False) -> None:
    """Show keys, without their secrets, newest first."""
    from pipelines.governance import api_keys

    with opened() as headrace:
        rows = [builtins(one) for one in api_keys.every(headrace, tenant)]
    print_rows(rows, as_json=as_json, title="API keys", empty="no keys yet: `headrace api-key add --tenant NAME`")


@app.command("revoke")
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key's name: the first part after `hr_`.")],
    as_json: AsJson = False,
) -> None:
    """End a key at once."""
    from pipelines.governance import api_keys

    with opened() as headrace:
        revoked = api_keys.revoke(headrace, key)
    print_record(builtins(revoked), as_json=as_json, title="Revoked")
