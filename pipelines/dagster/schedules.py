"""Retention: once a day, for every tenant that has a retention period."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from assets.retention import retention

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
    from pipelines.each_tenant import each_tenant

    known = set(context.instance.get_dynamic_partitions("tenants"))
    day = f"{context.scheduled_execution_time:%Y-%m-%d}"
    tenants = [tenant for tenant in headrace.tenants() if tenant.tenant in known]
    made = list(each_tenant(headrace, lambda tenant: _has_period(headrace, tenant.configuration), tenants))
    for attempt in made:
        if attempt.error:
            context.log.error(str(attempt))
    yield from (dg.RunRequest(run_key=f"{attempt.tenant}:{day}", partition_key=attempt.tenant) for attempt in made if attempt.result)
    if not any(attempt.result for attempt in made):
        yield dg.SkipReason("No tenant has a retention period: `headrace tenant set NAME retention.landed_days=…`.")


def _has_period(headrace: Any, configuration: dict[str, Any]) -> bool:
    # that section alone: the sealed lists of the others are not opened here
    retention = headrace.settings.policy({"retention": configuration.get("retention", {})}).retention
    return any(value for name, value in retention if name not in ("legal_hold", "standby_days"))
