"""Dagster's definitions: the assets, their checks, the resource, the jobs, the sensors and the schedule. `build` takes overrides for tests.

Imported by every Dagster process at its start, so nothing heavy is imported at the top, here or below.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import dagster as dg

from assets import checks, stages
from assets.maintenance import maintenance
from assets.reindex import reindex
from assets.retention import retention
from assets.runtime import RESOURCE
from assets.stream import STREAM
from pipelines.dagster.dead_runs import dead_run_sensor
from pipelines.dagster.freshness_sensor import freshness_sensor
from pipelines.dagster.jobs import ingest_job, reindex_job
from pipelines.dagster.run_process import present
from pipelines.dagster.schedules import retention_job, retention_schedule
from pipelines.dagster.sensors import lag_sensor, tenant_sensor
from pipelines.dagster.stream_job import stream_job
from pipelines.dagster.stream_sensor import stream_sensor, stream_slots


@dg.resource(description="Headrace on the configuration of the code location: servers, keys, and models that stay warm within a run.")
def headrace_resource(context: dg.InitResourceContext) -> Iterator[Any]:
    import services
    from core.config import load
    from pipelines.dagster.runtime import Runtime

    settings = load()
    with Runtime(settings, services.endpoints(settings)) as headrace, _process(context, headrace):
        yield headrace


def _process(context: dg.InitResourceContext, headrace: Any) -> AbstractContextManager[None]:
    """This process is known as the run's for as long as the resource is there; sensors and schedules are no runs."""
    if context.run is None or context.instance is None:
        return nullcontext()
    return present(headrace.database, context.instance, context.run.run_id)


def build(resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Everything the UI shows. One process per run: the models are loaded once for all its steps."""
    return dg.Definitions(
        assets=[stages.TOPIC, STREAM, *stages.PIPELINE, maintenance, reindex, retention],
        asset_checks=[*checks.ALL, stream_slots],
        jobs=[ingest_job, reindex_job, stream_job, retention_job],
        schedules=[retention_schedule],
        sensors=[tenant_sensor, lag_sensor, stream_sensor, freshness_sensor, dead_run_sensor],
        resources={RESOURCE: headrace_resource, **(resources or {})},
        executor=dg.in_process_executor,
    )


defs = build()
