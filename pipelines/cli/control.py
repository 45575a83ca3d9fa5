"""Tenants and dead letters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pipelines.app import Headrace
from pipelines.cli.output import print_record, print_rows


@contextmanager
def opened() -> Iterator[Headrace]:
    """Headrace on the configuration of this working directory and on servers that run."""
    import services
    from core.config import load

    settings = load()
    with Headrace(settings, services.endpoints(settings)) as headrace:
        yield headrace


def add(name: str, *, as_json: bool) -> None:
    import services
    from pipelines import tenants

    with opened() as headrace:
        tenants.add(headrace, name)
        username, _ = services.authorize_publisher(headrace.settings, name)
    record = {"tenant": name, "topic": f"documents.{name}", "publisher": username, "password": "in the data folder's secrets.json"}
    print_record(record, as_json=as_json, title="Tenant added")


def list_all(*, as_json: bool) -> None:
    from pipelines.operate import overview

    with opened() as headrace:
        rows = [overview(headrace, tenant.tenant) for tenant in headrace.tenants()]
    print_rows(rows, as_json=as_json, title="Tenants", empty="no tenants yet: `headrace tenant add NAME`")


def remove(name: str, *, as_json: bool) -> None:
    import services
    from pipelines import tenants

    with opened() as headrace:
        tenants.remove(headrace, name)
        services.revoke_publisher(headrace.settings, name)
    print_record({"removed": name}, as_json=as_json)


def dead_letters(tenant: str, *, as_json: bool) -> None:
    from pipelines.operate import letters

    with opened() as headrace:
        rows = letters(headrace, tenant)
    print_rows(rows, as_json=as_json, title="Dead letters", empty="no open dead letters")


def dead_letter(tenant: str, position: str, *, as_json: bool) -> None:
    from pipelines.operate import letter

    with opened() as headrace:
        rows = letter(headrace, tenant, position)
    for row in rows:
        print_record(row, as_json=as_json, title=f"Dead letter {position}")


def replay(tenant: str, positions: Sequence[str], *, as_json: bool) -> None:
    from pipelines.operate import replay as again

    with opened() as headrace:
        print_record(again(headrace, tenant, positions), as_json=as_json, title="Replayed; `headrace ingest` runs what is stale now")
