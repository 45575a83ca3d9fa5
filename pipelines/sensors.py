"""What starts runs by itself: a tenant's topic that is ahead of its position, and tenants that come and go."""

from typing import Any

import dagster as dg

from assets.runtime import RESOURCE, TENANTS
from assets.stages import WAY

ingest_job = dg.define_asset_job(
    "ingest_tenant",
    selection=dg.AssetSelection.assets(*WAY),
    partitions_def=TENANTS,
    description="The whole way for one tenant: land, parse, redact, chunk, embed, index, graph, with every check.",
)


@dg.sensor(
    minimum_interval_seconds=30,
    required_resource_keys={RESOURCE},
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Keeps Dagster's partitions equal to the tenants that there are.",
)
def tenant_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    tenants = {tenant.tenant for tenant in getattr(context.resources, RESOURCE).tenants()}
    known = set(context.instance.get_dynamic_partitions("tenants"))
    requests: list[Any] = []
    if tenants - known:
        requests.append(TENANTS.build_add_request(sorted(tenants - known)))
    if known - tenants:
        requests.append(TENANTS.build_delete_request(sorted(known - tenants)))
    return dg.SensorResult(dynamic_partitions_requests=requests)


@dg.sensor(
    job=ingest_job,
    minimum_interval_seconds=10,
    required_resource_keys={RESOURCE},
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts a run for each tenant whose topic holds events that are not landed. One run at a time for a tenant.",
)
def lag_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    headrace = getattr(context.resources, RESOURCE)
    known = set(context.instance.get_dynamic_partitions("tenants"))
    requests = [request for tenant in sorted(known) if (request := _request(context, headrace, tenant))]
    return dg.SensorResult(run_requests=requests)


def _request(context: dg.SensorEvaluationContext, headrace: Any, tenant: str) -> dg.RunRequest | None:
    """A run up to the ends as they are now: the run key makes asking twice for the same ends one run."""
    positions = headrace.positions(tenant)
    ends = headrace.reader.high_watermarks({topic for topic, _ in positions})
    lag = sum(max(0, ends[place] - at) for place, at in positions.items())
    if not lag or _running(context.instance, tenant):
        return None
    key = f"{tenant}:{','.join(str(ends[place]) for place in sorted(ends))}"
    return dg.RunRequest(run_key=key, partition_key=tenant, tags={"headrace/lag": str(lag)})


def _running(instance: dg.DagsterInstance, tenant: str) -> bool:
    busy = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
    runs = dg.RunsFilter(job_name=ingest_job.name, statuses=busy, tags={"dagster/partition": tenant})
    return bool(instance.get_runs(runs, limit=1))
