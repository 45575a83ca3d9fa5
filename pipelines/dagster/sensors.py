"""Sensors that start runs: for topics that are ahead of their positions, and for unfinished work; and tenants as partitions."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from itertools import takewhile
from time import time
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.runtime import TENANTS
from core.backoff import backoff_s
from pipelines.dagster.jobs import ingest_job
from pipelines.dagster.own_runs import location_tags

if TYPE_CHECKING:
    from core.tenancy import Tenant

STATE = "headrace/state"
"""The run tag with the state of the topic for which a run was requested."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 30.0, 900.0
_RECENT_RUNS = 8


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Keeps Dagster's partitions equal to the tenants: `headrace tenant add` and `remove` show up by themselves.",
)
def tenant_sensor(context: dg.SensorEvaluationContext, headrace: dg.ResourceParam[Any]) -> dg.SensorResult:
    tenants = {tenant.tenant for tenant in headrace.tenants()}
    known = _partitions(context)
    come, gone = sorted(tenants - known), sorted(known - tenants)
    requests: list[Any] = [TENANTS.build_add_request(come)] if come else []
    requests += [TENANTS.build_delete_request(gone)] if gone else []
    changes = "; ".join(f"{word}: {', '.join(names)}" for word, names in (("added", come), ("removed", gone)) if names)
    return dg.SensorResult(dynamic_partitions_requests=requests, skip_reason=changes or f"{len(tenants)} tenants, as before.")


@dg.sensor(
    job=ingest_job,
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts ingest_tenant for each tenant whose topic has events that have not landed, or that has unfinished documents "
    "(an interrupted run left them, or they wait for a server and are due), outcomes or maintenance. "
    "One run at a time for a tenant. If runs leave documents unfinished and nothing new is published, the next one waits "
    "30 s, then twice as long each time, up to 15 minutes. "
    "A changed model or setting is not seen here: start ingest_tenant by hand for that. "
    "Starts nothing while Dagster runs a stream (the setting `stream.slots`), which takes every event as it arrives.",
)
def lag_sensor(context: dg.SensorEvaluationContext, headrace: dg.ResourceParam[Any]) -> dg.SensorResult:
    if slots := headrace.settings.stream.slots:
        return dg.SensorResult(skip_reason=f"The stream takes events as they arrive: stream.slots is {slots}.")
    from pipelines.each_tenant import each_tenant

    known = _partitions(context)
    tenants = [tenant for tenant in headrace.tenants() if tenant.tenant in known]
    location = location_tags(context)
    made = list(each_tenant(headrace, lambda tenant: _answer(context.instance, location, headrace, tenant), tenants))
    requests = [attempt.result for attempt in made if isinstance(attempt.result, dg.RunRequest)]
    notes = [attempt.result or str(attempt) for attempt in made if not isinstance(attempt.result, dg.RunRequest)]
    for note in notes if requests else ():
        context.log.info(note)
    return dg.SensorResult(run_requests=requests, skip_reason=None if requests else " ".join(notes) or "There are no tenants yet.")


def _partitions(context: dg.SensorEvaluationContext) -> set[str]:
    return set(context.instance.get_dynamic_partitions("tenants"))


def _answer(instance: dg.DagsterInstance, location: Mapping[str, str], headrace: Any, tenant: "Tenant") -> dg.RunRequest | str:
    name, positions = tenant.tenant, headrace.positions(tenant.tenant)
    ends = headrace.reader.high_watermarks({topic for topic, _ in positions})
    events, unfinished = sum(max(0, ends[place] - at) for place, at in positions.items()), headrace.due(name)
    if not events and not unfinished:
        return f"{name}: nothing to do."
    recent = instance.get_run_records(dg.RunsFilter(tags={"dagster/partition": name, **location}), limit=_RECENT_RUNS)
    if not all(record.dagster_run.is_finished for record in recent):
        return f"{name}: a run is under way."
    state = _state(tenant, ends)
    wait_s = _pause_ends(recent, state) - time()
    if wait_s > 0:
        return f"{name}: {events} events and {unfinished} unfinished documents; the next one in {wait_s:.0f} s."
    tags = {STATE: state, "headrace/events": str(events), "headrace/left_over": str(unfinished)}
    # the same key until another run exists: Dagster ignores a repeated request
    key = f"{name}:{state}:{recent[0].dagster_run.run_id if recent else 'first'}"
    return dg.RunRequest(run_key=key, partition_key=name, tags=tags)


def _state(tenant: "Tenant", ends: Mapping[tuple[str, int], int]) -> str:
    """A digest of the topic's ends and the tenant's key: a tenant that was removed and added again begins at offset 0 with another key."""
    state = repr((tenant.wrapped_key, [ends[place] for place in sorted(ends)]))
    return blake2b(state.encode(), digest_size=6).hexdigest()


def _pause_ends(recent: Sequence[dg.RunRecord], state: str) -> float:
    """When the next run may start, in epoch seconds: the more runs there were for the same state, the later."""
    tried = len(list(takewhile(lambda record: record.dagster_run.tags.get(STATE) == state, recent)))
    if not tried:
        return 0.0
    return (recent[0].end_time or recent[0].create_timestamp.timestamp()) + backoff_s(tried, FIRST_PAUSE_S, LONGEST_PAUSE_S)
