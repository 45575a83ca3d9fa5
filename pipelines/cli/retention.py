"""`headrace retention`."""

from __future__ import annotations

from dataclasses import asdict

from pipelines.cli.installation import names, opened
from pipelines.cli.options import AsJson, OneTenant
from pipelines.cli.output import print_rows
from pipelines.cli.tenants import NO_TENANTS


def retention(tenant: OneTenant = None, as_json: AsJson = False) -> None:
    """Delete what is old enough by each tenant's `retention`, now. Dagster does it once a day."""
    from pipelines.governance.retention import enforce

    with opened() as headrace:
        enforced = [enforce(headrace, name) for name in names(headrace, tenant)]
    rows = [{"tenant": one.tenant, "held": one.held, "class": name, **asdict(row)} for one in enforced for name, row in one.classes.items()]
    shown = rows if as_json else [{**row, "days": row["days"] or "never"} for row in rows]
    print_rows(shown, as_json=as_json, title="Retention", empty=NO_TENANTS)
