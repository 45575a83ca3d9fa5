"""What tells Dagster that a tenant is not fresh, or that events were lost, and that it is well again, though nobody materializes anything.

An asset check is otherwise evaluated with a materialization only, and a stream that is dead, or that lands without a run, makes none.
"""

import json
from collections.abc import Iterator, Mapping
from time import time
from typing import TYPE_CHECKING, Any

import dagster as dg

from core.errors import HeadraceError

if TYPE_CHECKING:
    from quality import Check

ASSET = dg.AssetKey("document_events")
AGAIN_S = 600.0
"""A failure is told when it begins, and again after so long; its end is told once."""
MOST = 200
"""Evaluations in one tick: where everything fails at once, the rest is told by the next ones."""

Told = Mapping[str, float]
"""Which failures were told, as `tenant/check`, and when (epoch seconds)."""


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Looks every 30 seconds whether each tenant's oldest event that is not searchable is within the tenant's freshness target, "
    "and whether Kafka dropped events before they were read. Tells the checks `freshness` and `nothing_lost` of `document_events` when "
    "one fails, again every ten minutes while it does, and when it passes again.",
)
def freshness_sensor(context: dg.SensorEvaluationContext, headrace: dg.ResourceParam[Any]) -> dg.SensorResult:
    from pipelines.operations.checks import watch

    known = set(context.instance.get_dynamic_partitions("tenants"))
    before: Told = json.loads(context.cursor) if context.cursor else {}
    try:
        found = {f"{tenant}/{check.name}": check for tenant, check in watch(headrace) if tenant in known}
    except HeadraceError as error:
        return dg.SensorResult(skip_reason=str(error), cursor=context.cursor)
    tell = [name for name in found if _is_news(name, found[name], before)][:MOST]
    return dg.SensorResult(
        asset_events=[_evaluation(name, found[name]) for name in tell],
        cursor=json.dumps(dict(_remembered(found, tell, before))),
        skip_reason=f"{len(tell)} checks told, {sum(not check.passed for check in found.values())} fail.",
    )


def _is_news(name: str, found: "Check", before: Told) -> bool:
    if found.passed:
        return name in before
    return time() - before.get(name, 0.0) >= AGAIN_S


def _remembered(found: "Mapping[str, Check]", tell: list[str], before: Told) -> Iterator[tuple[str, float]]:
    """The failures that were told, now or earlier. What could not be judged now may still be failing; a tenant that is gone is not."""
    tenants = {_tenant(name) for name in found}
    for name in (*before.keys() - set(tell), *tell):
        if (name not in found or not found[name].passed) and _tenant(name) in tenants:
            yield name, time() if name in tell else before[name]


def _evaluation(name: str, found: "Check") -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=ASSET,
        check_name=found.name,
        passed=found.passed,
        severity=dg.AssetCheckSeverity.ERROR if found.severity == "error" else dg.AssetCheckSeverity.WARN,
        description=found.explanation,
        metadata={"findings": dg.MetadataValue.md(found.markdown()), **found.measured},
        partition=_tenant(name),
    )


def _tenant(name: str) -> str:
    return name.partition("/")[0]
