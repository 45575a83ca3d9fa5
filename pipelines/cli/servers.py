"""`up`, `down`, `status`, `migrate`, `ui`: the servers and Dagster."""

from __future__ import annotations

from typing import Any

from pipelines.cli.output import err as stderr
from pipelines.cli.output import out, print_json, print_record, print_rows, progress, table


def up(*, as_json: bool) -> None:
    import services
    from core.config import load
    from index.migrate import migrate as apply

    settings = load()
    with progress(quiet=as_json) as tell:
        endpoints = services.up(settings, tell)
        applied = apply(endpoints.postgres_owner.get_secret_value())
    rows = _server_rows(settings)
    if as_json:
        print_json({"servers": rows, "migrations": applied})
        return
    print_rows(rows, as_json=False, title="Servers")
    out().print(f"Migrations applied: {', '.join(applied) or 'none, up to date'}.")


def down(*, purge: bool, as_json: bool) -> None:
    import services
    from core.config import load

    settings = load()
    with progress(quiet=as_json) as tell:
        services.down(settings, purge=purge, progress=tell)
    print_rows(_server_rows(settings), as_json=as_json, title="Servers")


def status(*, as_json: bool) -> None:
    from core.config import load

    settings = load()
    servers, tenants = _server_rows(settings), _tenant_rows(settings)
    if as_json:
        print_json({"servers": servers, "tenants": tenants})
        return
    print_rows(servers, as_json=False, title="Servers")
    if tenants:
        out().print(table(tenants, "Tenants"))


def migrate(*, as_json: bool) -> None:
    import services
    from core.config import load
    from index.migrate import migrate as apply

    applied = apply(services.endpoints(load()).postgres_owner.get_secret_value())
    print_record({"applied": applied}, as_json=as_json, title="Migrations")


def ui(port: int | None) -> None:
    import services
    from core.config import load
    from pipelines import webserver

    settings = load()
    services.endpoints(settings)
    port = settings.dagster.port if port is None else port
    webserver.serve(settings, port, lambda address: stderr().print(f"Dagster: [bold]{address}[/bold]  (Ctrl-C ends it)"))


def _server_rows(settings: Any) -> list[dict[str, Any]]:
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


def _tenant_rows(settings: Any) -> list[dict[str, Any]]:
    """How far each tenant has come; nothing where Postgres does not answer or has no schema yet."""
    import services
    from core.errors import HeadraceError
    from pipelines.app import Headrace
    from pipelines.operate import overview

    try:
        with Headrace(settings, services.endpoints(settings)) as headrace:
            return [overview(headrace, tenant.tenant) for tenant in headrace.tenants()]
    except HeadraceError:
        return []
