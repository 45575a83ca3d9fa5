"""Every command's name, options and help. What a command does stands in the module that it calls."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.output import AsJson, Tenant

app = typer.Typer(
    name="headrace",
    help="Turns document change events into governed, retrieval-ready indexes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
tenants = typer.Typer(name="tenant", help="Add, list and remove tenants.", no_args_is_help=True)
letters = typer.Typer(name="dead-letters", help="What could not be processed, why, and once more.", no_args_is_help=True)
app.add_typer(tenants)
app.add_typer(letters)


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    config: Annotated[Path | None, typer.Option("--config", help="Configuration file; else headrace.toml here.")] = None,
) -> None:
    if debug:
        os.environ["HEADRACE_DEBUG"] = "1"
    if config:
        os.environ["HEADRACE_CONFIG"] = str(config)


@app.command()
def up(as_json: AsJson = False) -> None:
    """Start Postgres, Kafka and Neo4j where they are not running, and bring the schema up to date."""
    from pipelines.cli import servers

    servers.up(as_json=as_json)


@app.command()
def down(
    purge: Annotated[bool, typer.Option("--purge", help="Delete their data too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Stop the servers that `up` started."""
    from pipelines.cli import servers

    servers.down(purge=purge, as_json=as_json)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Where each server is, and how far each tenant has come."""
    from pipelines.cli import servers

    servers.status(as_json=as_json)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Check every service, role, extension, key and model, and say what to do."""
    from pipelines.cli import diagnosis

    diagnosis.doctor(as_json=as_json)


@app.command()
def migrate(as_json: AsJson = False) -> None:
    """Apply the migrations that are not applied yet, as the owner role."""
    from pipelines.cli import servers

    servers.migrate(as_json=as_json)


@app.command()
def ui(port: Annotated[int | None, typer.Option(help="Port; else the configuration's.")] = None) -> None:
    """Dagster's web server and daemon on the same configuration. Ctrl-C ends it."""
    from pipelines.cli import servers

    servers.ui(port)


@tenants.command("add")
def tenant_add(name: str, as_json: AsJson = False) -> None:
    """A tenant's roles, partitions, key, topics, and its publisher's credentials."""
    from pipelines.cli import control

    control.add(name, as_json=as_json)


@tenants.command("list")
def tenant_list(as_json: AsJson = False) -> None:
    """Every tenant, with its documents."""
    from pipelines.cli import control

    control.list_all(as_json=as_json)


@tenants.command("remove")
def tenant_remove(
    name: str,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Everything of a tenant: its key and rows, its graph, its topics."""
    from pipelines.cli import control

    if not yes:
        typer.confirm(f"Delete tenant {name}, its key and everything it holds?", abort=True)
    control.remove(name, as_json=as_json)


@app.command()
def publish(
    tenant: Tenant,
    paths: Annotated[list[Path], typer.Argument(exists=True, help="Files, or folders whose files are published.")],
    acl: Annotated[str | None, typer.Option(help="Principals who may read, with commas; else everyone in the tenant.")] = None,
    sequence: Annotated[int | None, typer.Option(min=0, help="The documents' sequence; else the broker's offset.")] = None,
    source: Annotated[str, typer.Option(help="Who publishes: the documents' owner.")] = "headrace:publish",
    as_json: AsJson = False,
) -> None:
    """Publish files as upsert events. A file's id is its path below the argument it was found by."""
    from pipelines.cli import documents

    documents.publish(tenant, paths, acl=acl, sequence=sequence, source=source, as_json=as_json)


@app.command()
def unpublish(
    tenant: Tenant,
    ids: Annotated[list[str], typer.Argument(help="Document ids.")],
    sequence: Annotated[int | None, typer.Option(min=0, help="The deletes' sequence; else the broker's offset.")] = None,
    source: Annotated[str, typer.Option(help="Who publishes: the documents' owner.")] = "headrace:publish",
    as_json: AsJson = False,
) -> None:
    """Publish delete events."""
    from pipelines.cli import documents

    documents.unpublish(tenant, ids, sequence=sequence, source=source, as_json=as_json)


@app.command()
def ingest(
    tenant: Annotated[str | None, typer.Option("--tenant", "-t", help="One tenant; else every one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Land what is in Kafka and run every stage until nothing is stale."""
    from pipelines.cli import documents

    documents.ingest(tenant, as_json=as_json)


@app.command()
def stream(
    seconds: Annotated[float | None, typer.Option(help="End after this long; else run until SIGTERM.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run the stages continuously over every tenant. SIGTERM and Ctrl-C finish the batch in hand."""
    from pipelines.cli import documents

    documents.stream(seconds, as_json=as_json)


@app.command()
def search(
    tenant: Tenant,
    query: str,
    principals: Annotated[str, typer.Option("--as", help="The caller's principals, with commas.")] = "",
    top: Annotated[int, typer.Option(min=1, max=1000, help="How many passages.")] = 5,
    as_json: AsJson = False,
) -> None:
    """The nearest passages that the caller may read, with citations."""
    from pipelines.cli import documents

    documents.search(tenant, query, principals=principals, top=top, as_json=as_json)


@app.command()
def explain(
    tenant: Tenant,
    name: Annotated[str, typer.Argument(metavar="ID", help="A document's id or key, or a chunk's id.")],
    as_json: AsJson = False,
) -> None:
    """A document's event, each stage's record, and where it is in the index and the graph, or why it is not."""
    from pipelines.cli import documents

    documents.explain(tenant, name, as_json=as_json)


@app.command()
def erase(
    tenant: Tenant,
    name: Annotated[str, typer.Argument(metavar="ID", help="A document's id or key.")],
    receipt: Annotated[Path, typer.Option(help="Where the receipt is written.")],
    as_json: AsJson = False,
) -> None:
    """Take a document out of every store and write a receipt with the counts."""
    from pipelines.cli import documents

    documents.erase(tenant, name, receipt, as_json=as_json)


@letters.command("list")
def letters_list(tenant: Tenant, as_json: AsJson = False) -> None:
    """Open dead letters, newest first."""
    from pipelines.cli import control

    control.dead_letters(tenant, as_json=as_json)


@letters.command("show")
def letters_show(
    tenant: Tenant,
    position: Annotated[str, typer.Argument(help="PARTITION:OFFSET, as `list` prints it.")],
    as_json: AsJson = False,
) -> None:
    """Everything known of one dead letter. Never its payload."""
    from pipelines.cli import control

    control.dead_letter(tenant, position, as_json=as_json)


@letters.command("replay")
def letters_replay(
    tenant: Tenant,
    positions: Annotated[list[str] | None, typer.Argument(help="PARTITION:OFFSET …; else all that are open.")] = None,
    as_json: AsJson = False,
) -> None:
    """Try dead letters again, from the event on. Fencing makes it safe to repeat."""
    from pipelines.cli import control

    control.replay(tenant, positions or [], as_json=as_json)
