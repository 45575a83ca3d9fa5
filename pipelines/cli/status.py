"""`headrace status`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.attempts import NO_TENANTS, raise_bug_if_debugging
from pipelines.cli.exit_codes import BUG, IN_PART
from pipelines.cli.options import AsJson
from pipelines.cli.output import builtins, out, print_json, print_rows, table
from pipelines.cli.servers import print_servers

if TYPE_CHECKING:
    from core.config import Settings
    from pipelines.operations.status import Status


def status(
    as_json: AsJson = False,
    sizes: Annotated[
        bool, typer.Option("--sizes", help="Show what each tenant's tables and indexes take on disk, and per passage.")
    ] = False,
) -> None:
    """Show each server, each tenant's progress and each slot."""
    from core.config import load

    settings = load()
    found = builtins(_status(settings, sizes=sizes))
    if as_json:
        print_json(found)
    else:
        print_servers(found["servers"], settings)
        _print(found)
    if reasons := {row["error"]["reason"] for row in found["tenants"] or () if row["error"]}:
        raise typer.Exit(BUG if "bug" in reasons else IN_PART)


def _print(found: dict[str, Any]) -> None:
    if found["unavailable"]:
        out().print(f"Tenants: not known. {found['unavailable']}", markup=False)
        return
    read = [_tenant_cells(row) for row in found["tenants"] if row["documents"] is not None]
    print_rows(read, as_json=False, title="Tenants", empty="no tenant could be read" if found["tenants"] else NO_TENANTS)
    _print_troubles(found["tenants"])
    _print_maintenance(found["tenants"])
    print_rows([_slot_cells(row) for row in found["slots"]], as_json=False, title="Slots", empty="no stream within a day")
    for storage in found["sizes"] or ():
        _print_sizes(storage)


def _print_sizes(storage: dict[str, Any]) -> None:
    index = storage["vector_index"]
    state = f"HNSW index {index['state']}, {index['done']:.0%}" if index else "searched exactly, without a vector index"
    rows = [
        {
            "table": row["table"],
            "rows": row["rows"],
            "table size": _size(row["table_bytes"]),
            "indexes": _size(row["index_bytes"]),
            "bytes per passage": row["bytes_per_chunk"] and round(row["bytes_per_chunk"]),
        }
        for row in storage["tables"]
    ]
    out().print(table(rows, f"Sizes of {storage['tenant']}"))
    out().print(f"{storage['chunks']:,} passages in {_size(storage['bytes'])}; {state}", markup=False, soft_wrap=True)


def _size(size: int) -> str:
    return f"{size / 1024**2:,.1f} MiB"


def _print_troubles(tenants: list[dict[str, Any]]) -> None:
    """Print a table of the tenants with an error, if there are any."""
    rows = [{"tenant": row["tenant"], **row["error"]} for row in tenants if row["error"]]
    if rows:
        out().print(table(rows, "Tenants in trouble"))


def _print_maintenance(tenants: list[dict[str, Any]]) -> None:
    """Print due tasks, if there are any, in a table of their own: that of the tenants fills a terminal's width."""
    due = [{"tenant": row["tenant"], "tasks": ", ".join(row["maintenance"])} for row in tenants if row["maintenance"]]
    if due:
        out().print(table(due, "Maintenance due"))


def _status(settings: Settings, *, sizes: bool) -> Status:
    """Without tenants and slots if Postgres does not answer or has no schema yet."""
    import services
    from core.errors import HeadraceError
    from pipelines.app import Headrace
    from pipelines.operations import status
    from pipelines.stream.slots import slots

    servers = status.servers(settings)
    try:
        with Headrace(settings, services.endpoints(settings)) as headrace:
            made, streaming = status.tenants(headrace), slots(headrace)
            storage = status.storage(headrace) if sizes else None
    except HeadraceError as error:
        return status.Status(servers, unavailable=f"{error.detail}. {error.remedy}".strip())
    raise_bug_if_debugging(made)
    return status.Status(servers, [status.of_attempt(attempt) for attempt in made], streaming, sizes=storage)


def _tenant_cells(row: dict[str, Any]) -> dict[str, Any]:
    """A tenant's row for people, no wider than a terminal; `--json` has the rest."""
    return {
        "tenant": row["tenant"],
        "documents": row["documents"],
        "empty": row["empty"] or None,
        "not landed": "?" if row["not_landed"] is None else row["not_landed"],
        "not indexed": row["not_indexed"],
        "oldest": _age(row["lag_s"]),
        "per min": f"{_rate(row['landed_per_min'])}, {_rate(row['indexed_per_min'])}",
        "failures": [f"{reason} {count}" for reason, count in row["failures"].items()] or None,
        "outcomes": row["outcomes_waiting"] or None,
        "fresh": f"{_FRESH[row['fresh']]}, {_age(row['freshness_seconds']) or '?'}",
    }


_FRESH = {True: "yes", False: "NO", None: "?"}


def _slot_cells(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "slot": row["slot"],
        "state": row["state"],
        "since": row["started_at"],
        "seen": f"{_age(row['silent_s']) or '0 s'} ago",
        "tenants": row["tenants"],
        "partitions": row["partitions"],
        "in flight": row["in_flight"],
        "crashes": row["crashes"] or None,
        "trouble": row["trouble"],
    }


def _rate(per_min: float) -> str:
    return f"{per_min:.0f}" if per_min >= 10 else f"{per_min:g}"


def _age(seconds: float | None) -> str | None:
    """Seconds with a suitable unit, rounded; `?` if not known, None for 0."""
    if seconds is None:
        return "?"
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds else None
