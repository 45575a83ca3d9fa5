"""`headrace keys`: the master key. A tenant's surrogate key is rotated by `headrace tenant rotate`."""

from __future__ import annotations

from dataclasses import asdict

import typer

from pipelines.cli.installation import opened
from pipelines.cli.options import AsJson, Yes, confirm, secret_line
from pipelines.cli.output import print_record

app = typer.Typer(name="keys", help="The master key.", no_args_is_help=True)


@app.command("rewrap")
def rewrap(yes: Yes = False, as_json: AsJson = False) -> None:
    """Wrap every key under a new master key, read from standard input. Afterwards only the new one opens anything."""
    from pydantic import SecretStr

    from pipelines.governance import master_key

    new = SecretStr(secret_line("New master key, 32 bytes in base64"))
    confirm("Is the new key stored safely, and has every other process of Headrace ended?", yes)
    with opened() as headrace:
        rewrapped = master_key.rewrap(headrace, new)
    print_record(asdict(rewrapped), as_json=as_json, title="Now put it into `master_key` of every process")
