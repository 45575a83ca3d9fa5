"""Every command, in the order of `headrace --help`, and the options before the command. A command is in the module of its noun."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli import (
    api_keys,
    audit,
    dead_letters,
    doctor,
    documents,
    erasure,
    evaluate,
    export,
    ingest,
    keys,
    mcp,
    publish,
    reindex,
    replay,
    retention,
    search,
    serve,
    servers,
    status,
    stream,
    tenants,
    ui,
)
from pipelines.cli.command import Command

app = typer.Typer(
    name="headrace",
    help="Turns document change events into governed, retrieval-ready indexes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (tenants.app, dead_letters.app, replay.app, keys.app, api_keys.app, audit.app):
    for registered in group.registered_commands:
        registered.cls = Command
    app.add_typer(group)
for command in (
    servers.up,
    servers.down,
    status.status,
    doctor.doctor,
    servers.migrate,
    ui.ui,
    publish.publish,
    publish.unpublish,
    ingest.ingest,
    stream.stream,
    search.search,
    evaluate.evaluate,
    serve.serve,
    mcp.mcp,
    reindex.reindex,
    documents.explain,
    documents.release,
    erasure.erase,
    export.export,
    retention.retention,
):
    app.command(cls=Command)(command)


def _version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        typer.echo(f"headrace {version('headrace')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,  # noqa: ARG001
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    config: Annotated[Path | None, typer.Option("--config", help="Configuration file. Default: headrace.toml here.")] = None,
    acting: Annotated[str | None, typer.Option("--as", metavar="NAME", help="Who acts, for the audit log, beside the login.")] = None,
) -> None:
    from pipelines.governance.actor import claim

    claim(acting)
    if debug:
        os.environ["HEADRACE_DEBUG"] = "1"
    if config:
        os.environ["HEADRACE_CONFIG"] = str(config)
