"""`headrace tenant`: add, set, list, rotate, remove."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from pipelines.cli.attempts import NO_TENANTS, attempts, end, row_in_trouble
from pipelines.cli.installation import opened
from pipelines.cli.options import AsJson, TenantName, Yes, confirm
from pipelines.cli.output import builtins, print_record, print_rows

app = typer.Typer(name="tenant", help="Add, list, configure and remove tenants.", no_args_is_help=True)

Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[SECTION.KEY=VALUE]...", help="Settings overriding headrace.toml, such as reading.pdf=text."),
]
Freshness = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="Freshness target: the greatest age of an event that is not searchable. Default: 300."),
]


@app.command("add")
def add(name: TenantName, overrides: Overrides = None, freshness: Freshness = None, as_json: AsJson = False) -> None:
    """Add a tenant: roles, partitions, a key, topics, and a publisher's credentials."""
    from core.tenancy import valid_tenant
    from pipelines.cli import publishers, tenant_settings
    from pipelines.governance import audit
    from pipelines.governance import tenants as governed

    with opened() as headrace:
        configuration = governed.checked(headrace.settings, tenant_settings.parse(overrides or (), freshness))
        with audit.recorded(headrace, "tenant-add", valid_tenant(name), settings=tenant_settings.names(configuration)):
            # first, as it can be repeated; a tenant that exists keeps the publisher that it has
            publisher = publishers.authorize(headrace, name)
            governed.add(headrace, name, configuration)
    print_record({"tenant": name, "topic": f"documents.{name}", **publisher}, as_json=as_json, title="Tenant added")


@app.command("set")
def configure(name: TenantName, overrides: Overrides = None, freshness: Freshness = None, as_json: AsJson = False) -> None:
    """Change settings of a tenant. The next run processes what is stale because of it."""
    from pipelines.cli import tenant_settings
    from pipelines.governance import audit
    from pipelines.governance import tenants as governed
    from pipelines.governance.legal_hold import held
    from pipelines.sealed_settings import counted

    with opened() as headrace:
        before = headrace.database.get(name).configuration
        changes = tenant_settings.parse(overrides or (), freshness, before)
        changed = tenant_settings.changed(changes, before)
        on_hold = tenant_settings.LEGAL_HOLD in changed
        with audit.recorded(headrace, "legal-hold" if on_hold else "tenant-set", name, settings=changed) as act:
            governed.configure(headrace, name, **changes)
            act.details.update({"held": held(headrace, name)} if on_hold else {})
        configuration = counted(headrace.database.get(name).configuration)
    print_record({"tenant": name, "configuration": configuration}, as_json=as_json, title="Tenant changed")


@app.command("list")
def list_all(as_json: AsJson = False) -> None:
    """Show every tenant with its number of documents."""
    from pipelines.operations.status import TenantOverview, overview

    with opened() as headrace:
        made = list(attempts(headrace, None, lambda name: overview(headrace, name)))
    columns = TenantOverview.__struct_fields__
    rows = [{**builtins(one.result), "error": None} if one.result else row_in_trouble(one, columns) for one in made]
    shown = rows if as_json else [{**row, "error": one.error and one.error.reason} for row, one in zip(rows, made, strict=True)]
    print_rows(shown, as_json=as_json, title="Tenants", empty=NO_TENANTS)
    end(made, as_json=as_json)


@app.command("remove")
def remove(name: TenantName, yes: Yes = False, as_json: AsJson = False) -> None:
    """Remove a tenant: its publisher and topics, graph, key and rows."""
    from pipelines.cli import publishers
    from pipelines.governance import audit
    from pipelines.governance import tenants as governed
    from pipelines.governance.legal_hold import refuse_held

    confirm(f"Delete tenant {name}, its key and all of its data?", yes)
    with opened() as headrace, audit.recorded(headrace, "tenant-remove", headrace.database.get(name).tenant):
        refuse_held(headrace, name)
        # first, so that nothing can be published meanwhile
        publishers.revoke(headrace, name)
        governed.remove(headrace, name)
    print_record({"removed": name}, as_json=as_json)


@app.command("rotate")
def rotate(name: TenantName, yes: Yes = False, as_json: AsJson = False) -> None:
    """Give a tenant a new surrogate key: everything is redacted again into a new index, which replaces the old one once it is complete."""
    from pipelines.governance import surrogate_keys

    confirm(f"Redact, chunk, embed and index everything of tenant {name} again?", yes)
    with opened() as headrace:
        begun = surrogate_keys.rotate(headrace, name)
    print_record(asdict(begun), as_json=as_json, title="The next run, or a stream, redacts again")
