"""One asset per arrow. Each takes whatever is stale for its stage and tenant."""

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import dagster as dg

from assets import metadata
from assets.runtime import RESOURCE, TENANTS, Runtime
from core.stage import Report

# (asset, the stages it runs, the asset above it, what it is made of, what a person should know)
ARROWS: tuple[tuple[str, tuple[str, ...], str, set[str], str], ...] = (
    ("parsed_documents", ("parse",), "document_events", {"docling", "postgres"},
     "Content, inline or by reference, parsed to blocks: headings, paragraphs, lists, tables, code. Sealed: it precedes redaction."),
    ("redacted_documents", ("redact",), "parsed_documents", {"presidio", "postgres"},
     "Every text with its personal data replaced by keyed surrogates: the same value, the same surrogate, within a tenant only."),
    ("chunks", ("chunk",), "redacted_documents", {"python", "postgres"},
     "Passages along the document's structure, bounded in the embedding model's tokens, stable under edits elsewhere."),
    ("embeddings", ("embed",), "chunks", {"pytorch", "postgres"},
     "Vectors of the texts that this tenant has not embedded under this model."),
    ("vector_index", ("index",), "embeddings", {"postgres"},
     "The swap: new chunks become searchable and old ones go, in one transaction. Exact duplicates are stored once."),
    ("knowledge_graph", ("graph", "project"), "vector_index", {"neo4j", "postgres"},
     "What each document contributes: sections, links, references, entities. In Postgres first, then projected to Neo4j."),
)  # fmt: skip

TOPIC = dg.AssetSpec(
    "documents_topic",
    description="The Kafka topics `documents.<tenant>`, where source systems publish.",
    kinds={"kafka"},
    group_name="inlet",
)


@dg.asset(
    partitions_def=TENANTS,
    deps=[TOPIC],
    group_name="way",
    kinds={"kafka", "postgres"},
    required_resource_keys={RESOURCE},
    description="Events landed once: the contract checked, sequence and ownership fenced, event and position in one transaction.",
)
def document_events(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
    runtime: Runtime = getattr(context.resources, RESOURCE)
    started = perf_counter()
    landed = runtime.land(context.partition_key, lambda total: context.log.info("%d events", total.events))
    return dg.MaterializeResult(metadata=metadata.of_landing(landed, perf_counter() - started))


def stage_asset(name: str, stages: Sequence[str], upstream: str, kinds: set[str], description: str) -> dg.AssetsDefinition:
    """The asset of one arrow. It fails where a server that its stage needs is away: Dagster's retry, or the next run, goes on."""

    @dg.asset(
        name=name,
        partitions_def=TENANTS,
        deps=[upstream],
        group_name="way",
        kinds=kinds,
        required_resource_keys={RESOURCE},
        description=description,
        retry_policy=dg.RetryPolicy(max_retries=3, delay=2, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS),
    )
    def arrow(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        runtime: Runtime = getattr(context.resources, RESOURCE)
        told: dict[str, Any] = {}
        for stage in stages:
            report = runtime.run(
                context.partition_key, stage, lambda so_far: context.log.info("%s: %d documents", so_far.stage, so_far.moved)
            )
            described = metadata.of_stage(report)
            told |= described if len(stages) == 1 else {f"{stage}/{key}": value for key, value in described.items()}
            _fail_where_a_server_is_away(report, told)
        return dg.MaterializeResult(metadata=told)

    return arrow


def _tell(context: dg.AssetExecutionContext, so_far: Report) -> None:
    context.log.info("%s: %d documents, %d failed, %.1f s", so_far.stage, so_far.moved, so_far.failed, so_far.seconds)


def _fail_where_a_server_is_away(report: Report, told: dict[str, Any]) -> None:
    if report.unavailable:
        raise dg.Failure(f"{report.stage} waits: {report.unavailable}. What was done stays done.", metadata=told, allow_retries=True)


WAY = [document_events, *(stage_asset(*arrow) for arrow in ARROWS)]
