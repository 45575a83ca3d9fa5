"""`up`, `down`, `status`, `migrate`, `ui`: the servers and Dagster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipelines.cli.output import builtins, line, out, print_json, print_record, print_rows, progress, table, without

if TYPE_CHECKING:
    from core.config import Endpoints, Settings


def up(*, as_json: bool) -> None:
    import services
    from core.config import load
    from core.schema.migrate import migrate as apply

    settings = load()
    with progress(quiet=as_json) as tell:
        endpoints = services.up(settings, tell)
        applied = apply(endpoints.postgres_owner.get_secret_value())
        _seal(settings, endpoints)
    rows = _server_rows(settings)
    if as_json:
        print_json({"servers": rows, "migrations": applied})
        return
    _print_servers(rows, settings)
    out().print(f"Migrations applied: {', '.join(applied) or 'none, up to date'}.")


def down(*, purge: bool, as_json: bool) -> None:
    import services
    from core.config import load

    settings = load()
    with progress(quiet=as_json) as tell:
        services.down(settings, purge=purge, progress=tell)
    rows = _server_rows(settings)
    if as_json:
        print_json({"servers": rows, "purged": purge})
    else:
        _print_servers(rows, settings)


def status(*, as_json: bool) -> None:
    from core.config import load
    from core.errors import HeadraceError

    settings = load()
    servers = _server_rows(settings)
    found: dict[str, Any] = {"tenants": None, "slots": None, "unavailable": None}
    try:
        found |= _progress_rows(settings)
    except HeadraceError as error:
        found["unavailable"] = f"{error.detail}. {error.remedy}".strip()
    if as_json:
        print_json({"servers": servers, **found})
        return
    _print_servers(servers, settings)
    if found["unavailable"]:
        out().print(f"Tenants: not known. {found['unavailable']}", markup=False)
    else:
        print_rows([_drawn_tenant(row) for row in found["tenants"]], as_json=False, title="Tenants", empty=_NO_TENANTS)
        print_rows([_drawn_slot(row) for row in found["slots"]], as_json=False, title="Slots", empty="no stream within a day")


_NO_TENANTS = "no tenants yet: `headrace tenant add NAME`"


def migrate(*, as_json: bool) -> None:
    import services
    from core.config import load
    from core.schema.migrate import migrate as apply

    settings = load()
    endpoints = services.endpoints(settings)
    applied = apply(endpoints.postgres_owner.get_secret_value())
    _seal(settings, endpoints)
    if as_json:
        print_record({"applied": applied}, as_json=True)
    else:
        out().print(f"Migrations applied: {', '.join(applied) or 'none, up to date'}.")


def _seal(settings: Settings, endpoints: Endpoints) -> None:
    """What an earlier version kept in clear and this one does not."""
    from pipelines.app import Headrace
    from pipelines.governance.tenants import seal_all

    with Headrace(settings, endpoints) as headrace:
        seal_all(headrace)


def ui(port: int | None, *, as_json: bool) -> None:
    import services
    from core.config import load
    from pipelines.dagster import webserver

    settings = load()
    services.endpoints(settings)

    def ready(address: str) -> None:
        if as_json:
            print_json({"address": address})
        else:
            line(f"Dagster: {address}  (Ctrl-C ends it)")

    webserver.serve(settings, settings.dagster.port if port is None else port, ready)


def _print_servers(rows: list[dict[str, Any]], settings: Settings) -> None:
    out().print(table([without(row, ("log",)) for row in rows], "Servers"))
    if any(row["log"] for row in rows):
        out().print(f"Logs: {settings.data_dir.absolute() / 'logs'}", markup=False)


def _server_rows(settings: Settings) -> list[dict[str, Any]]:
    import services

    return [
        {
            "server": status.name,
            "state": status.state,
            "address": status.address,
            "version": status.version,
            "pid": status.pid,
            "memory_mb": status.memory_bytes and status.memory_bytes // 1024**2,
            "log": status.log and str(status.log),
        }
        for status in services.status(settings)
    ]


def _progress_rows(settings: Settings) -> dict[str, Any]:
    """How far each tenant has come, and who streams. Raises HeadraceError where Postgres does not answer or has no schema yet."""
    import services
    from pipelines.app import Headrace
    from pipelines.operations import status
    from pipelines.stream.slots import slots

    with Headrace(settings, services.endpoints(settings)) as headrace:
        return {"tenants": [builtins(tenant) for tenant in status.tenants(headrace)], "slots": [vars(slot) for slot in slots(headrace)]}


def _drawn_tenant(row: dict[str, Any]) -> dict[str, Any]:
    """A tenant's row for people, not wider than a terminal: `--json` has the rest."""
    return {
        "tenant": row["tenant"],
        "documents": row["documents"],
        "not landed": "?" if row["not_landed"] is None else row["not_landed"],
        "not indexed": row["not_indexed"],
        "oldest": _age(row["lag_s"]),
        "per min": f"{_pace(row['landed_per_min'])}, {_pace(row['indexed_per_min'])}",
        "failures": [f"{reason} {count}" for reason, count in row["failures"].items()] or None,
        "outcomes": row["outcomes_waiting"] or None,
        "maintenance": list(row["maintenance"]) or None,
        "fresh": f"{_FRESH[row['fresh']]}, {_age(row['freshness_seconds']) or '?'}",
    }


_FRESH = {True: "yes", False: "NO", None: "?"}


def _drawn_slot(row: dict[str, Any]) -> dict[str, Any]:
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


def _pace(per_min: float) -> str:
    return f"{per_min:.0f}" if per_min >= 10 else f"{per_min:g}"


def _age(seconds: float | None) -> str | None:
    """Two digits or so are enough to see at a glance; None where nothing waits."""
    if seconds is None:
        return "?"
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds else None
