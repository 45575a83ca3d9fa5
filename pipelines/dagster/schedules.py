"""Retention: once a day, for every tenant that has a retention period."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from assets.retention import retention
from core.errors import HeadraceError

retention_job = dg.define_asset_job(
    "enforce_retention",
    selection=dg.AssetSelection.assets(retention),
    description="Deletes what is older than the tenant's retention periods. Safe to repeat.",
)


@dg.schedule(
    job=retention_job,
    cron_schedule="17 3 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Once a day, for each tenant with a retention period. Under legal hold the run says so and deletes nothing.",
)
def retention_schedule(context: dg.ScheduleEvaluationContext, headrace: dg.ResourceParam[Any]) -> Iterator[dg.RunRequest | dg.SkipReason]:
    known = set(context.instance.get_dynamic_partitions("tenants"))
    day = f"{context.scheduled_execution_time:%Y-%m-%d}"
    wanted = [tenant.tenant for tenant in headrace.tenants() if tenant.tenant in known and _has_period(headrace, tenant.configuration)]
    yield from (dg.RunRequest(run_key=f"{tenant}:{day}", partition_key=tenant) for tenant in wanted)
    if not wanted:
        yield dg.SkipReason("No tenant has a retention period: `headrace tenant set NAME retention.landed_days=…`.")


def _has_period(headrace: Any, configuration: dict[str, Any]) -> bool:
    try:
        # that section alone: the sealed lists of the others are not opened here
        retention = headrace.settings.policy({"retention": configuration.get("retention", {})}).retention
    except HeadraceError:
        # the tenant's own error, which its other runs report
        return False
    return any(value for name, value in retention if name != "legal_hold")
