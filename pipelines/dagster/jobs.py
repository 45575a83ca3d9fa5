"""The job for one tenant at a time. `pipelines.dagster.sensors` starts it."""

import dagster as dg

from assets.stages import PIPELINE

ingest_job = dg.define_asset_job(
    "ingest_tenant",
    selection=dg.AssetSelection.assets(*PIPELINE),
    description="The whole pipeline for one tenant: land, parse, redact, chunk, embed, index, graph, with every check. "
    "Does only what is stale; run it again at any time.",
)
