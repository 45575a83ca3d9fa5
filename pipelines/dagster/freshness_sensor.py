"""Evaluates `freshness` and `nothing_lost` without a materialization, and reports when one fails and when it passes again.

An asset check is otherwise evaluated with a materialization only, and a dead stream, or one that lands without a run, makes none.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from time import time
from typing import TYPE_CHECKING, Any

import dagster as dg

from core.errors import HeadraceError

if TYPE_CHECKING:
    from quality import Check

ASSET = dg.AssetKey("document_events")
AGAIN_S = 600.0
"""A failure is reported when it begins, and again after this many seconds; its end is reported once."""
MOST = 200
"""Evaluations in one tick: if everything fails at once, the next ticks report the rest."""

Reported = Mapping[str, float]
"""Which failures were reported, as `tenant/check`, and when (epoch seconds)."""


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Checks every 30 s whether each tenant's oldest event that is not searchable is within the tenant's freshness target, "
    "and whether Kafka dropped events before they were read. Reports the checks `freshness` and `nothing_lost` of `document_events` when "
    "one fails, again every ten minutes while it does, and when it passes again.",
)
def freshness_sensor(context: dg.SensorEvaluationContext, headrace: dg.ResourceParam[Any]) -> dg.SensorResult:
    from pipelines.operations.checks import watch

    known = set(context.instance.get_dynamic_partitions("tenants"))
    before: Reported = json.loads(context.cursor) if context.cursor else {}
    try:
        made = list(watch(headrace, known))
    except HeadraceError as error:
        return dg.SensorResult(skip_reason=str(error), cursor=context.cursor)
    found = {f"{attempt.tenant}/{attempt.result.name}": attempt.result for attempt in made if attempt.result}
    report = [name for name in found if _is_news(name, found[name], before)][:MOST]
    failing = f"{len(report)} checks reported, {sum(not check.passed for check in found.values())} fail."
    return dg.SensorResult(
        asset_events=[_evaluation(name, found[name]) for name in report],
        cursor=json.dumps(dict(_remembered(found, report, before, {attempt.tenant for attempt in made}))),
        skip_reason=" ".join([failing, *(str(attempt) for attempt in made if attempt.error)]),
    )


def _is_news(name: str, found: "Check", before: Reported) -> bool:
    if found.passed:
        return name in before
    return time() - before.get(name, 0.0) >= AGAIN_S


def _remembered(
    found: "Mapping[str, Check]", reported: list[str], before: Reported, tenants: Collection[str]
) -> Iterator[tuple[str, float]]:
    """The failures that were reported, now or earlier. One that could not be evaluated now may still fail; a removed tenant does not."""
    for name in (*before.keys() - set(reported), *reported):
        if (name not in found or not found[name].passed) and _tenant(name) in tenants:
            yield name, time() if name in reported else before[name]


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
