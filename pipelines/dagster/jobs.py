"""The job that is for one tenant at a time. What starts it by itself, and when, is in `pipelines.dagster.sensors`."""

import dagster as dg

from assets.stages import WAY

ingest_job = dg.define_asset_job(
    "ingest_tenant",
    selection=dg.AssetSelection.assets(*WAY),
    description="The whole way for one tenant: land, parse, redact, chunk, embed, index, graph, with every check. "
    "Does only what is stale; run it again at any time.",
)
