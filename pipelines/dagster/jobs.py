"""The jobs for one tenant at a time. `pipelines.dagster.sensors` starts the first, an operator the second."""

import dagster as dg

from assets.maintenance import maintenance
from assets.reindex import reindex
from assets.stages import PIPELINE

ingest_job = dg.define_asset_job(
    "ingest_tenant",
    selection=dg.AssetSelection.assets(*PIPELINE, maintenance),
    description="The whole pipeline for one tenant: land, parse, redact, chunk, embed, index, graph, with every check, and the maintenance "
    "that is due. Does only what is stale; run it again at any time.",
)

reindex_job = dg.define_asset_job(
    "reindex_tenant",
    selection=dg.AssetSelection.assets(reindex),
    description="Builds another generation of a tenant's index, with another model or chunker, beside the active one, compares the two, "
    "and switches if the comparison passes. Run it again at any time, with empty settings: it goes on where it was.",
)
