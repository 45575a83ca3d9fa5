"""Maintenance in Dagster: the last asset of a tenant's run. `pipelines.maintenance` decides which tasks are due."""

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

import dagster as dg

from assets.boundary import plain_failures
from assets.runtime import TENANTS, Runtime
from assets.stages import GROUP, RETRY

NAME = "maintenance"


@dg.asset(
    name=NAME,
    partitions_def=TENANTS,
    # not the last stage: a stage that fails, or waits for Neo4j, must not keep the other tasks from running
    deps=["document_events"],
    group_name=GROUP,
    kinds={"postgres"},
    tags={"headrace/sensitivity": "counts"},
    # one step runs at a time, and the stages go first
    op_tags={"dagster/priority": "-1"},
    retry_policy=RETRY,
    description="The upkeep of a tenant that is due: terms of passages, vectors that no version uses, and whatever a run that was cut off "
    "left undone.\n\n"
    "Runs after the stages. Tasks that follow one stage run with that stage, and their counts are in its asset's materialization as "
    "`<stage>/maintenance/<task>/…`.\n\n"
    "**Reading a materialization.** `<task>/…` are the counts of the tasks that ran now. `due` names the tasks that are still due, and "
    "`tasks due` is their number: a task stays due while a server that it needs is unavailable.",
)
def maintenance(context: dg.AssetExecutionContext, headrace: dg.ResourceParam[Runtime]) -> dg.MaterializeResult[Any]:
    started, tenant = perf_counter(), context.partition_key
    with plain_failures():
        counts = headrace.maintain(tenant)
        described = metadata(counts, headrace.maintenance_due(tenant))
    return dg.MaterializeResult(metadata=described | {"time/seconds": round(perf_counter() - started, 3)})


def metadata(counts: Mapping[str, int], due: Sequence[str]) -> dict[str, Any]:
    """The counts of tasks that ran, `<task>/<count>` → number, and the tasks that are still due."""
    return {**counts, "due": ", ".join(due) or "nothing", "tasks due": len(due)}
