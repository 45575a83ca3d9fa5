"""Retention in Dagster: an asset outside the pipeline, with a table of what was deleted. `pipelines.governance.retention` decides."""

from typing import Any

import dagster as dg

from assets.boundary import plain_failures
from assets.runtime import TENANTS, Enforced, Runtime
from assets.stages import RETRY

GROUP = "governance"


@dg.asset(
    partitions_def=TENANTS,
    group_name=GROUP,
    kinds={"postgres"},
    tags={"headrace/sensitivity": "counts"},
    retry_policy=RETRY,
    description="What was deleted of a tenant because it was old enough, by the section `retention` of its configuration; once a day, by "
    "`retention_schedule`.\n\n"
    "Only what the pipeline can do without is deleted, and nothing under legal hold.\n\n"
    "**Reading a materialization.** `classes` has a row for each class: how many days it is kept, how much *went* (was deleted), and "
    "how much of that age *stays* because something still needs it. `went/…` are the same numbers over time.",
)
def retention(context: dg.AssetExecutionContext, headrace: dg.ResourceParam[Runtime]) -> dg.MaterializeResult[Any]:
    with plain_failures():
        enforced = headrace.enforce_retention(context.partition_key)
    return dg.MaterializeResult(metadata=_metadata(enforced))


def _metadata(enforced: Enforced) -> dict[str, Any]:
    return {
        "classes": dg.MetadataValue.md(_table(enforced)),
        "legal hold": enforced.held,
        **{f"went/{name}": row.went for name, row in enforced.classes.items()},
    }


def _table(enforced: Enforced) -> str:
    rows = [f"| {row.what} | {row.days or 'never'} | {row.went} | {row.stays} |" for row in enforced.classes.values()]
    head = ["**Under legal hold: nothing is deleted.**\n"] if enforced.held else []
    return "\n".join([*head, "| what | after days | went | stays |", "|---|---:|---:|---:|", *rows])
