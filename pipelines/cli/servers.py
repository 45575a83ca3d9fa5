"""The servers and their schema: `headrace up`, `down`, `migrate`. Their state is shown by `headrace status`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.attempts import end, row_in_trouble
from pipelines.cli.options import AsJson, Yes, confirm
from pipelines.cli.output import builtins, out, print_json, print_record, progress, table, without

if TYPE_CHECKING:
    from core.config import Endpoints, Settings
    from pipelines.each_tenant import Attempt


def up(as_json: AsJson = False) -> None:
    """Start Postgres, Kafka and Neo4j if they are not running, and migrate the schema."""
    import services
    from core.config import load

    settings = load()
    with progress(quiet=as_json) as report:
        applied, sealed = _migrate(settings, services.up(settings, report))
    rows = server_rows(settings)
    if as_json:
        print_json({"servers": rows, "migrations": applied, "troubles": _troubles(sealed)})
    else:
        print_servers(rows, settings)
        _print_applied(applied)
    end(sealed, as_json=as_json)


def down(
    purge: Annotated[bool, typer.Option("--purge", help="Also delete their data and keys.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Stop the servers that `up` started."""
    import services
    from core.config import load

    if purge:
        confirm("Delete every tenant's data, and the keys and passwords in the data folder?", yes)
    settings = load()
    with progress(quiet=as_json) as report:
        services.down(settings, purge=purge, progress=report)
    rows = server_rows(settings)
    if as_json:
        print_json({"servers": rows, "purged": purge})
    else:
        print_servers(rows, settings)


def migrate(as_json: AsJson = False) -> None:
    """Apply pending migrations, as the owner role."""
    import services
    from core.config import load

    settings = load()
    applied, sealed = _migrate(settings, services.endpoints(settings))
    if as_json:
        print_record({"applied": applied, "troubles": _troubles(sealed)}, as_json=True)
    else:
        _print_applied(applied)
    end(sealed, as_json=as_json)


def _migrate(settings: Settings, endpoints: Endpoints) -> tuple[list[str], list[Attempt[bool]]]:
    """Apply the migrations, and seal what an earlier version stored in clear. Returns the migrations' names, and what became of whom."""
    from core.schema import migrate
    from pipelines.app import Headrace
    from pipelines.governance.tenants import seal_all

    applied = migrate.migrate(endpoints.postgres_owner.get_secret_value())
    with Headrace(settings, endpoints) as headrace:
        return applied, seal_all(headrace)


def _troubles(made: Sequence[Attempt[Any]]) -> list[dict[str, Any]]:
    """The tenants whose settings could not be sealed, and why."""
    return [row_in_trouble(attempt) for attempt in made if attempt.trouble]


def _print_applied(applied: list[str]) -> None:
    out().print(f"Migrations applied: {', '.join(applied) or 'none, up to date'}.")


def print_servers(rows: list[dict[str, Any]], settings: Settings) -> None:
    """The servers as a table."""
    out().print(table([without(row, ("log",)) for row in rows], "Servers"))
    if any(row["log"] for row in rows):
        out().print(f"Logs: {settings.data_dir.absolute() / 'logs'}", markup=False)


def server_rows(settings: Settings) -> list[dict[str, Any]]:
    """One row per server: its state, address, version, process and memory."""
    from pipelines.operations.status import servers

    return [builtins(server) for server in servers(settings)]
