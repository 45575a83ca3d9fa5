"""Asset checks, per tenant. A check's judgement is made in `quality`; the blocking ones stop the stage below."""

import warnings

import dagster as dg

from assets.boundary import plain_failures
from assets.runtime import TENANTS, Runtime

# (check, asset, blocking, what it asks)
CHECKS: tuple[tuple[str, str, bool, str], ...] = (
    ("contract", "document_events", True, "Are landed events whole: keys, sequences, fates, times, positions?"),
    ("freshness", "document_events", False, "How old is the oldest event that is not searchable yet, and how far behind is the topic?"),
    ("nothing_lost", "document_events", False, "Did Kafka still have every event when it was to be read?"),
    ("parse_quality", "parsed_documents", False, "Did parsing give text, and could what was let pass be read well?"),
    ("residual_pii", "redacted_documents", True, "Does a second detector, of another method, still find personal data, and how much?"),
    ("chunk_quality", "chunks", False, "Are chunks within the model's bounds, readable, and each with a source?"),
    ("embedding_health", "embeddings", True, "Are vectors of the right dimension, finite, of unit length, and not all alike?"),
    ("index_completeness", "vector_index", False, "Is every live document searchable, or known to have failed?"),
    ("graph_consistency", "knowledge_graph", False, "Does Neo4j hold what Postgres says it should?"),
)


def stage_check(name: str, asset: str, blocking: bool, asks: str) -> dg.AssetChecksDefinition:
    """The Dagster check of that name, asking Headrace."""
    effect = "Blocking: where it fails with an error, the assets below wait until it passes." if blocking else "Tells; stops nothing."

    @dg.asset_check(
        name=name,
        asset=asset,
        blocking=blocking,
        description=f"{asks} {effect}",
        partitions_def=TENANTS,
    )
    def check(context: dg.AssetCheckExecutionContext, headrace: dg.ResourceParam[Runtime]) -> dg.AssetCheckResult:
        with plain_failures():
            found = headrace.check(_tenant(context), name)
        severity = dg.AssetCheckSeverity.ERROR if found.severity == "error" else dg.AssetCheckSeverity.WARN
        told = {"findings": dg.MetadataValue.md(found.markdown()), **found.measured}
        return dg.AssetCheckResult(passed=found.passed, severity=severity, description=found.explanation, metadata=told)

    return check


def _tenant(context: dg.AssetCheckExecutionContext) -> str:
    # `Execute all` on the UI's page of checks starts a run without a partition
    if not context.has_partition_key:
        raise dg.Failure("A check is of one tenant, and none was chosen: materialize the asset, or start ingest_tenant, for a tenant.")
    return str(context.partition_key)


with warnings.catch_warnings():
    # checks per partition are a preview in Dagster 1.13, and there is no other way to have one per tenant
    warnings.filterwarnings("ignore", "Specifying a partitions_def on an AssetCheckSpec", category=dg.PreviewWarning)
    ALL = [stage_check(*check) for check in CHECKS]
