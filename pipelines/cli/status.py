"""`headrace status`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipelines.cli.options import AsJson
from pipelines.cli.output import builtins, out, print_json, print_rows, table
from pipelines.cli.servers import print_servers, server_rows
from pipelines.cli.tenants import NO_TENANTS

if TYPE_CHECKING:
    from core.config import Settings


def status(as_json: AsJson = False) -> None:
    """Show each server, each tenant's progress and each slot."""
    from core.config import load
    from core.errors import HeadraceError

    settings = load()
    servers = server_rows(settings)
    found: dict[str, Any] = {"tenants": None, "slots": None, "unavailable": None}
    try:
        found |= _tenants_and_slots(settings)
    except HeadraceError as error:
        found["unavailable"] = f"{error.detail}. {error.remedy}".strip()
    if as_json:
        print_json({"servers": servers, **found})
        return
    print_servers(servers, settings)
    if found["unavailable"]:
        out().print(f"Tenants: not known. {found['unavailable']}", markup=False)
    else:
        print_rows([_tenant_cells(row) for row in found["tenants"]], as_json=False, title="Tenants", empty=NO_TENANTS)
        _print_maintenance(found["tenants"])
        print_rows([_slot_cells(row) for row in found["slots"]], as_json=False, title="Slots", empty="no stream within a day")


def _print_maintenance(tenants: list[dict[str, Any]]) -> None:
    """A table of its own, as the tenants' one fills a terminal's width; nothing if no task is due."""
    due = [{"tenant": row["tenant"], "tasks": ", ".join(row["maintenance"])} for row in tenants if row["maintenance"]]
    if due:
        out().print(table(due, "Maintenance due"))


def _tenants_and_slots(settings: Settings) -> dict[str, Any]:
    """Raises HeadraceError if Postgres does not answer or has no schema yet."""
    import services
    from pipelines.app import Headrace
    from pipelines.operations import status
    from pipelines.stream.slots import slots

    with Headrace(settings, services.endpoints(settings)) as headrace:
        tenants = [builtins(tenant) for tenant in status.tenants(headrace)]
        return {"tenants": tenants, "slots": [vars(slot) for slot in slots(headrace)]}


def _tenant_cells(row: dict[str, Any]) -> dict[str, Any]:
    """A tenant's row for people, no wider than a terminal; `--json` has the rest."""
    return {
        "tenant": row["tenant"],
        "documents": row["documents"],
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
        "in hand": row["in_hand"],
        "deaths": row["deaths"] or None,
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
