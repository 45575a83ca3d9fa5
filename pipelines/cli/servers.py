"""`up`, `down`, `status`, `migrate`, `ui`: the servers and Dagster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipelines.cli.output import line, out, print_json, print_record, print_rows, progress, table, without

if TYPE_CHECKING:
    from core.config import Settings
    from pipelines.app import Headrace


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
    servers: list[dict[str, Any]] = _server_rows(settings)
    tenants: list[dict[str, Any]] | None = None
    unavailable: str | None = None
    try:
        tenants = _tenant_rows(settings)
    except HeadraceError as error:
        unavailable = f"{error.detail}. {error.remedy}".strip()
    if as_json:
        print_json({"servers": servers, "tenants": tenants, "unavailable": unavailable})
        return
    _print_servers(servers, settings)
    if tenants is None:
        out().print(f"Tenants: not known. {unavailable}", markup=False)
    else:
        print_rows(tenants, as_json=False, title="Tenants", empty="no tenants yet: `headrace tenant add NAME`")


def migrate(*, as_json: bool) -> None:
    import services
    from core.config import load
    from index.migrate import migrate as apply

    applied = apply(services.endpoints(load()).postgres_owner.get_secret_value())
    if as_json:
        print_record({"applied": applied}, as_json=True)
    else:
        out().print(f"Migrations applied: {', '.join(applied) or 'none, up to date'}.")


def ui(port: int | None, *, as_json: bool) -> None:
    import services
    from core.config import load
    from pipelines import webserver

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


def _tenant_rows(settings: Settings) -> list[dict[str, Any]]:
    """How far each tenant has come. Raises HeadraceError where Postgres does not answer or has no schema yet."""
    import services
    from pipelines.app import Headrace
    from pipelines.operate import overview

    with Headrace(settings, services.endpoints(settings)) as headrace:
        return [{**overview(headrace, found.tenant), "not_landed": _lag(headrace, found.tenant)} for found in headrace.tenants()]


def _lag(headrace: Headrace, tenant: str) -> int | None:
    """Events that have not landed; null where Kafka does not say."""
    from core.errors import HeadraceError
    from pipelines.operate import lag

    try:
        return lag(headrace, tenant)
    except HeadraceError:
        return None
