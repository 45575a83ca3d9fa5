"""The job for one tenant at a time. `pipelines.dagster.sensors` starts it."""

import dagster as dg

from assets.maintenance import maintenance
from assets.stages import PIPELINE

ingest_job = dg.define_asset_job(
    "ingest_tenant",
    selection=dg.AssetSelection.assets(*PIPELINE, maintenance),
    description="The whole pipeline for one tenant: land, parse, redact, chunk, embed, index, graph, with every check, and the maintenance "
    "that is due. Does only what is stale; run it again at any time.",
)
