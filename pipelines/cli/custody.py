"""`tenant rotate`, `keys rewrap` and `export`: keys, and taking what is held of a tenant away. Names, options, and what they print."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.output import AsJson, print_json, print_record, print_rows


def rotate(
    name: str,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Give a tenant a fresh surrogate key; everything is redacted anew beside what is searched, and switched when it is complete."""
    from pipelines.cli.control import opened
    from pipelines.governance.surrogate_keys import rotate as exchange

    if not yes:
        typer.confirm(f"Redact, cut, embed and index everything of tenant {name} anew?", abort=True, err=True)
    with opened() as headrace:
        begun = exchange(headrace, name)
    print_record(asdict(begun), as_json=as_json, title="The next run, or a stream, redacts anew")


def rewrap(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Wrap every key under a new master key, given on standard input; afterwards only that one opens anything."""
    from pydantic import SecretStr

    from pipelines.cli.control import opened
    from pipelines.cli.governance import secret_line
    from pipelines.governance.master_key import rewrap as again

    master = SecretStr(secret_line("New master key, 32 bytes in base64"))
    if not yes:
        typer.confirm("Is it kept safe, and has every other process of Headrace ended?", abort=True, err=True)
    with opened() as headrace:
        done = again(headrace, master)
    print_record(asdict(done), as_json=as_json, title="Now put it into `master_key` of every process")


def export(
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's name.")],
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="A folder that is not there, or empty.")],
    embeddings: Annotated[bool, typer.Option("--embeddings", help="The passages' vectors too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write what is held of a tenant, redacted, as Parquet files with a manifest. The folder is there whole or not at all."""
    from pipelines.cli.control import opened
    from pipelines.governance.export import export as write

    with opened() as headrace:
        manifest = write(headrace, tenant, to, embeddings=embeddings)
    if as_json:
        print_json(manifest)
        return
    rows = [
        {"table": name, "rows": table["rows"], "files": len(table["files"]), "bytes": sum(file["bytes"] for file in table["files"])}
        for name, table in manifest["tables"].items()
    ]
    print_rows(rows, as_json=False, title=f"Exported to {to}", empty="")
