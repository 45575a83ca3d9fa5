"""Retention as Dagster shows it: an asset beside the way, and a table of what went. What goes, and when, is decided elsewhere."""

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
    tags={"headrace/holds": "counts"},
    retry_policy=RETRY,
    description="What was let go of a tenant because it is old enough, as its configuration's section `retention` says; once a day, by "
    "`retention_schedule`.\n\n"
    "Only what the way can do without goes, and under legal hold nothing.\n\n"
    "**Reading a materialization.** `classes` has a row for each class: after how many days it goes, how much *went* now, and how much of "
    "that age *stays* because something still needs it. `went/…` are the same numbers over time.",
)
def retention(context: dg.AssetExecutionContext, headrace: dg.ResourceParam[Runtime]) -> dg.MaterializeResult[Any]:
    with plain_failures():
        enforced = headrace.enforce_retention(context.partition_key)
    return dg.MaterializeResult(metadata=_told(enforced))


def _told(enforced: Enforced) -> dict[str, Any]:
    return {
        "classes": dg.MetadataValue.md(_table(enforced)),
        "legal hold": enforced.held,
        **{f"went/{name}": row.went for name, row in enforced.classes.items()},
    }


def _table(enforced: Enforced) -> str:
    rows = [f"| {row.what} | {row.days or 'never'} | {row.went} | {row.stays} |" for row in enforced.classes.values()]
    head = ["**Under legal hold: nothing goes.**\n"] if enforced.held else []
    return "\n".join([*head, "| what | after days | went | stays |", "|---|---:|---:|---:|", *rows])
