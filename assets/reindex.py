"""Reindex in Dagster: an asset outside the pipeline, with the comparison as a table and a plot. `pipelines.operations.reindex` does it."""

from time import perf_counter
from typing import Any

import dagster as dg

from assets import picture
from assets.boundary import plain_failures
from assets.runtime import TENANTS, Reindexed, Runtime
from assets.stages import GROUP, RETRY


class Settings(dg.Config):
    """Of the new generation; the tenant's own where one is empty. With all of them empty, what is under way goes on."""

    model: str = ""
    revision: str = ""
    chunker: str = ""
    rollback: bool = False


@dg.asset(
    partitions_def=TENANTS,
    group_name=GROUP,
    kinds={"postgres"},
    tags={"headrace/sensitivity": "counts"},
    retry_policy=RETRY,
    description="The generation of a tenant's index beside the active one: built with another model or chunker, compared, switched to. "
    "The job `reindex_tenant` materializes it, with `model`, `revision` and `chunker`, or `rollback`, in its configuration.\n\n"
    "**Reading a materialization.** `state` is `standby` after a switch, `refused` if the comparison did not pass, and `building` if it "
    "is not done yet: then maintenance goes on. `comparison` has the measures of both generations, and what the new one has to reach: in "
    "`plot`, the mark. `leave the search` counts documents that only the old generation has, by reason.",
)
def reindex(context: dg.AssetExecutionContext, config: Settings, headrace: dg.ResourceParam[Runtime]) -> dg.MaterializeResult[Any]:
    started = perf_counter()
    with plain_failures():
        done = headrace.reindex(
            context.partition_key, config.model or None, config.revision or None, config.chunker or None, rollback=config.rollback
        )
    return dg.MaterializeResult(metadata=metadata(done) | {"time/seconds": round(perf_counter() - started, 3)})


def metadata(done: Reindexed) -> dict[str, Any]:
    """State, counts, and the comparison as a table and a plot."""
    counts = {"state": done.state, "reason": done.reason or "none", "documents": done.documents, "documents active": done.of}
    compared = done.comparison
    if compared is None:
        return counts
    rows = [(measure.name, measure.active, measure.new, measure.least) for measure in compared.measures]
    plot = picture.pairs(rows, f"means over {compared.queries} queries", ("active before", "new")) if rows else "no query, no plot"
    return {
        **counts,
        "queries": compared.queries,
        "queries judged": compared.judged,
        "comparison": dg.MetadataValue.md(_table(rows)),
        "plot": dg.MetadataValue.md(plot),
        "leave the search": sum(compared.refused.values()),
        **{f"leave the search/{reason}": documents for reason, documents in compared.refused.items()},
        **{f"measure/{name}": new for name, _, new, _ in rows},
    }


def _table(rows: list[tuple[str, float | None, float, float | None]]) -> str:
    lines = [f"| {name} | {_shown(active)} | {new:.3f} | {_shown(least)} |" for name, active, new, least in rows]
    return "\n".join(["| measure | active before | new | at least |", "|---|---:|---:|---:|", *lines])


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
