"""`headrace export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.installation import opened
from pipelines.cli.options import AsJson
from pipelines.cli.output import print_json, print_rows


def export(
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's name.")],
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="A folder that does not exist, or is empty.")],
    embeddings: Annotated[bool, typer.Option("--embeddings", help="Include the passages' vectors.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a tenant's redacted data as Parquet files with a manifest. The folder appears complete or not at all."""
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
