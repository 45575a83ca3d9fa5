"""Asset checks, per tenant. A check's judgement is made in `quality`; the blocking ones stop the stage below."""

import dagster as dg

from assets.runtime import RESOURCE, TENANTS, Runtime

# (check, asset, blocking, what it asks)
CHECKS: tuple[tuple[str, str, bool, str], ...] = (
    ("contract", "document_events", True, "Are landed events whole: keys, sequences, fates, times, positions?"),
    ("freshness", "document_events", False, "How old is the oldest event that is not searchable yet, and how far behind is the topic?"),
    ("parse_quality", "parsed_documents", False, "Did parsing give text, and few replacement characters?"),
    ("residual_pii", "redacted_documents", True, "Does a second detector, of another make, still find personal data?"),
    ("chunk_quality", "chunks", False, "Are chunks within the model's bounds, readable, and each with a source?"),
    ("embedding_health", "embeddings", True, "Are vectors of the right dimension, finite, of unit length, and not all alike?"),
    ("index_completeness", "vector_index", False, "Is every live document searchable, or known to have failed?"),
    ("graph_consistency", "knowledge_graph", False, "Does Neo4j hold what Postgres says it should?"),
)


def stage_check(name: str, asset: str, blocking: bool, asks: str) -> dg.AssetChecksDefinition:
    """The Dagster check of that name, asking the runtime."""

    @dg.asset_check(name=name, asset=asset, blocking=blocking, description=asks, partitions_def=TENANTS, required_resource_keys={RESOURCE})
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        runtime: Runtime = getattr(context.resources, RESOURCE)
        found = runtime.check(context.partition_key, name)
        severity = dg.AssetCheckSeverity.ERROR if found.severity == "error" else dg.AssetCheckSeverity.WARN
        told = {**found.measured, "findings": dg.MetadataValue.md(found.markdown())}
        return dg.AssetCheckResult(passed=found.passed, severity=severity, description=found.explanation, metadata=told)

    return check


ALL = [stage_check(*check) for check in CHECKS]
