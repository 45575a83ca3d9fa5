"""Every command's name, options and help. What a command does stands in the module that it calls."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli import custody
from pipelines.cli.output import AsJson, Tenant
from pipelines.cli.times import when

app = typer.Typer(
    name="headrace",
    help="Turns document change events into governed, retrieval-ready indexes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
tenants = typer.Typer(name="tenant", help="Add, list, configure and remove tenants.", no_args_is_help=True)
letters = typer.Typer(name="dead-letters", help="What could not be processed, and why.", no_args_is_help=True)
app.add_typer(tenants)
replays = typer.Typer(name="replay", help="Once more: dead letters, or a topic. Safe to repeat.", no_args_is_help=True)
app.add_typer(letters)
app.add_typer(replays)
keys = typer.Typer(name="keys", help="The master key.", no_args_is_help=True)
app.add_typer(keys)
audits = typer.Typer(name="audit", help="Who erased, replayed, dismissed, configured or held what.", no_args_is_help=True)
app.add_typer(audits)


Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Wait = Annotated[
    float | None,
    typer.Option(min=0, metavar="SECONDS", help="Wait at most so long for what becomes of them; a stream, or `ingest`, decides."),
]


def _sure(question: str, yes: bool) -> None:
    if not yes:
        # on standard error: with --json, standard output is the document alone
        typer.confirm(question, abort=True, err=True)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"headrace {version('headrace')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,  # noqa: ARG001
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    config: Annotated[Path | None, typer.Option("--config", help="Configuration file; else headrace.toml here.")] = None,
    acting: Annotated[str | None, typer.Option("--as", metavar="NAME", help="Who acts, for the audit log, beside the login.")] = None,
) -> None:
    from pipelines.governance.actor import claim

    claim(acting)
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
    purge: Annotated[bool, typer.Option("--purge", help="Delete their data and keys too.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Stop the servers that `up` started."""
    from pipelines.cli import servers

    if purge:
        _sure("Delete every tenant's data, and the keys and passwords in the data folder?", yes)
    servers.down(purge=purge, as_json=as_json)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show where each server is, and how far each tenant has come."""
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
def ui(
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port, 0 for a free one; else the configuration's.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run Dagster's web server and daemon on the same configuration. Ctrl-C ends it."""
    from pipelines.cli import servers

    servers.ui(port, as_json=as_json)


Wishes = Annotated[
    list[str] | None,
    typer.Argument(metavar="[SECTION.KEY=VALUE]...", help="What this tenant has otherwise than headrace.toml: reading.pdf=text."),
]
Freshness = typer.Option(metavar="SECONDS", help="How old its oldest event that is not searchable may be; else 300.")


@tenants.command("add")
def tenant_add(name: str, wishes: Wishes = None, freshness: Annotated[float | None, Freshness] = None, as_json: AsJson = False) -> None:
    """Add a tenant: its roles, partitions, key, topics, and its publisher's credentials."""
    from pipelines.cli import control

    control.add(name, wishes or (), freshness, as_json=as_json)


@tenants.command("set")
def tenant_set(name: str, wishes: Wishes = None, freshness: Annotated[float | None, Freshness] = None, as_json: AsJson = False) -> None:
    """Change a tenant's configuration; what is stale by it is done again with the next run."""
    from pipelines.cli import control

    control.configure(name, wishes or (), freshness, as_json=as_json)


@tenants.command("list")
def tenant_list(as_json: AsJson = False) -> None:
    """Show every tenant, with its documents."""
    from pipelines.cli import control

    control.list_all(as_json=as_json)


@tenants.command("remove")
def tenant_remove(
    name: str,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Remove a tenant: its publisher and topics, its graph, its key and rows."""
    from pipelines.cli import control

    _sure(f"Delete tenant {name}, its key and everything it holds?", yes)
    control.remove(name, as_json=as_json)


tenants.command("rotate")(custody.rotate)
keys.command("rewrap")(custody.rewrap)


@app.command()
def publish(
    tenant: Tenant,
    paths: Annotated[list[Path], typer.Argument(exists=True, help="Files, or folders whose files are published.")],
    acl: Annotated[str | None, typer.Option(help="Principals who may read, with commas, '' for nobody; else everyone.")] = None,
    sequence: Annotated[int | None, typer.Option(min=0, help="The documents' sequence; else the broker's offset.")] = None,
    source: Annotated[str, typer.Option(help="Who publishes: the documents' owner.")] = "headrace:publish",
    wait: Wait = None,
    as_json: AsJson = False,
) -> None:
    """Publish files as upsert events. A file's id is its path below the argument it was found by."""
    from pipelines.cli import documents

    documents.publish(tenant, paths, acl=acl, sequence=sequence, source=source, wait=wait, as_json=as_json)


@app.command()
def unpublish(
    tenant: Tenant,
    ids: Annotated[list[str], typer.Argument(help="Document ids.")],
    sequence: Annotated[int | None, typer.Option(min=0, help="The deletes' sequence; else the broker's offset.")] = None,
    source: Annotated[str, typer.Option(help="Who publishes: the documents' owner.")] = "headrace:publish",
    wait: Wait = None,
    as_json: AsJson = False,
) -> None:
    """Publish deletes of documents that this source owns."""
    from pipelines.cli import documents

    documents.unpublish(tenant, ids, sequence=sequence, source=source, wait=wait, as_json=as_json)


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
    seconds: Annotated[float | None, typer.Option(min=0, help="End after this long; else run until SIGTERM.")] = None,
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
    """Find the nearest passages that the caller may read, with citations."""
    from pipelines.cli import documents

    documents.search(tenant, query, principals=principals, top=top, as_json=as_json)


@app.command()
def explain(
    tenant: Tenant,
    name: Annotated[str, typer.Argument(metavar="ID", help="A document's id or key, or a chunk's id.")],
    as_json: AsJson = False,
) -> None:
    """Say where a document is: its events, each stage's record, index and graph, or why it is not there."""
    from pipelines.cli import documents

    documents.explain(tenant, name, as_json=as_json)


@app.command()
def release(
    tenant: Tenant,
    name: Annotated[str, typer.Argument(metavar="ID", help="The document, by its id or key.")],
    as_json: AsJson = False,
) -> None:
    """Let a document pass that was put aside: its content as it is now, and no other."""
    from pipelines.cli import governance

    governance.release(tenant, name, as_json=as_json)


@app.command()
def erase(
    tenant: Annotated[str | None, typer.Option("--tenant", "-t", help="The tenant's name.")] = None,
    name: Annotated[str | None, typer.Argument(metavar="[ID]", help="One document, by its id or key.")] = None,
    source: Annotated[str | None, typer.Option(metavar="URI", help="Everything that this source owns.")] = None,
    subject: Annotated[bool, typer.Option("--subject", help="All that holds the value on standard input, by its surrogate.")] = False,
    everything: Annotated[bool, typer.Option("--everything", help="The tenant itself, its key first.")] = False,
    again: Annotated[Path | None, typer.Option(exists=True, help="The documents of this receipt, after a restore.")] = None,
    receipt: Annotated[Path | None, typer.Option(help="A new file for the receipt.")] = None,
    verify: Annotated[Path | None, typer.Option(exists=True, help="Erase nothing: look whether this receipt still holds.")] = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Take a document, a source's, all of a person's or a tenant's out of every store, and write a signed receipt."""
    from pipelines.cli import governance

    asked = [word for word, given in (("ID", name), ("--source", source), ("--subject", subject), ("--again", again)) if given] + (
        ["--everything"] if everything else []
    )
    if verify:
        if asked or tenant or receipt:
            raise typer.BadParameter("--verify stands alone")
        governance.verify(verify, as_json=as_json)
        return
    if len(asked) != 1 or tenant is None or receipt is None:
        raise typer.BadParameter("give --tenant, --receipt, and one of ID, --source, --subject, --again and --everything")
    if everything:
        _sure(f"Delete tenant {tenant}, its key and everything it holds?", yes)
    governance.erase(
        tenant, name=name, source=source, subject=subject, everything=everything, again=again, receipt=receipt, as_json=as_json
    )


app.command("export")(custody.export)


@app.command()
def retention(
    tenant: Annotated[str | None, typer.Option("--tenant", "-t", help="One tenant; else every one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Let go now what is old enough by each tenant's `retention`. Dagster does it once a day."""
    from pipelines.cli import governance

    governance.retention(tenant, as_json=as_json)


@audits.command("list")
def audit_list(
    tenant: Annotated[str | None, typer.Option("--tenant", "-t", help="One tenant's, removed ones too; else all.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show who did what, newest first."""
    from pipelines.cli import governance

    governance.audit_list(tenant, limit, as_json=as_json)


@audits.command("verify")
def audit_verify(
    mark: Annotated[str | None, typer.Option(metavar="NUMBER:HASH", help="An entry that was kept elsewhere: is it still there?")] = None,
    as_json: AsJson = False,
) -> None:
    """Follow the log's chain from its beginning: was an entry changed, taken out, or put in by somebody else?"""
    from pipelines.cli import governance

    governance.audit_verify(mark, as_json=as_json)


@letters.command("list")
def letters_list(tenant: Tenant, as_json: AsJson = False) -> None:
    """Show open dead letters, newest first."""
    from pipelines.cli import control

    control.dead_letters(tenant, as_json=as_json)


@letters.command("show")
def letters_show(
    tenant: Tenant,
    position: Annotated[str, typer.Argument(help="PARTITION:OFFSET, as `list` prints it.")],
    as_json: AsJson = False,
) -> None:
    """Show everything known of one event's dead letters. Never the payload."""
    from pipelines.cli import control

    control.dead_letter(tenant, position, as_json=as_json)


@letters.command("dismiss")
def letters_dismiss(
    tenant: Tenant,
    position: Annotated[str, typer.Argument(help="PARTITION:OFFSET, as `list` prints it.")],
    as_json: AsJson = False,
) -> None:
    """Settle the dead letter of an event that was lost or refused, by your word: nothing is tried again."""
    from pipelines.cli import control

    control.dismiss(tenant, position, as_json=as_json)


@replays.command("dead-letters")
def replay_letters(
    positions: Annotated[list[str] | None, typer.Argument(help="PARTITION:OFFSET …; else all that are open.")] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", "-t", help="One tenant; else every one.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only with this reason code.")] = None,
    document: Annotated[str | None, typer.Option(metavar="ID", help="Only of this document, by its id or key.")] = None,
    since: Annotated[datetime | None, typer.Option(parser=when, metavar="WHEN", help="Only what last failed then or later.")] = None,
    until: Annotated[datetime | None, typer.Option(parser=when, metavar="WHEN", help="Only what last failed before.")] = None,
    as_json: AsJson = False,
) -> None:
    """Try open dead letters again, from where they failed."""
    from pipelines.cli import replaying

    replaying.dead_letters(
        tenant, positions=tuple(positions or ()), reason=reason, document=document, since=since, until=until, as_json=as_json
    )


@replays.command("topic")
def replay_topic(
    tenant: Tenant,
    from_offset: Annotated[int | None, typer.Option(min=0, help="The first offset, in each partition.")] = None,
    since: Annotated[datetime | None, typer.Option(parser=when, metavar="WHEN", help="Events published then or later.")] = None,
    partition: Annotated[int | None, typer.Option(min=0, help="One partition; else every one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Land once more what landed and Kafka still has. What is there already does not change."""
    from pipelines.cli import replaying

    replaying.topic(tenant, from_offset=from_offset, since=since, partition=partition, as_json=as_json)
