"""`headrace retention`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pipelines.cli.attempts import NO_TENANTS, attempts, end, row_in_trouble
from pipelines.cli.installation import opened
from pipelines.cli.options import AsJson, OneTenant
from pipelines.cli.output import print_rows

if TYPE_CHECKING:
    from pipelines.each_tenant import Attempt
    from pipelines.governance.retention import Enforced


def retention(tenant: OneTenant = None, as_json: AsJson = False) -> None:
    """Delete what is old enough by each tenant's `retention`, now. Dagster does it once a day."""
    from pipelines.governance.retention import enforce

    with opened() as headrace:
        made = list(attempts(headrace, tenant, lambda name: enforce(headrace, name)))
    rows = [row for attempt in made for row in _rows(attempt)]
    shown = rows if as_json else [{**row, "days": row["days"] or "never"} for row in rows if not row["error"]]
    print_rows(shown, as_json=as_json, title="Retention", empty="nothing" if made else NO_TENANTS)
    end(made, as_json=as_json)


def _rows(attempt: Attempt[Enforced]) -> Iterator[dict[str, Any]]:
    """A row for each class, or one with the error."""
    if attempt.result is None:
        yield row_in_trouble(attempt, ("held", "class", "what", "days", "went", "stays"))
        return
    for name, row in attempt.result.classes.items():
        yield {"tenant": attempt.tenant, "held": attempt.result.held, "class": name, **asdict(row), "error": None}
