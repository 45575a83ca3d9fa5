"""The assets of the pipeline, one per step. Each processes what is stale for its stages and tenant: materializing twice is safe."""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, perf_counter
from typing import Any

import dagster as dg

from assets import metadata
from assets.boundary import plain_failures
from assets.runtime import TENANTS, Runtime
from core.sensitivity import sensitivity

GROUP = "documents_to_index"
RETRY = dg.RetryPolicy(max_retries=3, delay=2, backoff=dg.Backoff.EXPONENTIAL)
"""Only if a server is unavailable: `plain_failures` allows no other retries."""

LOG_EVERY_S = 5.0

EMBEDDER = "embedder"
"""The pool of the embedding model: each run is a process with its own model, and two of them slow each other down on one GPU, or on one
machine's cores. Only the asset that computes vectors is in it. The stream is not: it never ends, and would never free its place.
"""


@dataclass(frozen=True)
class StageAsset:
    """An asset: the stages that it runs, the asset above it, and its description.

    `pool`: the concurrency pool that limits it across all runs.
    """

    asset: str
    stages: tuple[str, ...]
    upstream: str
    kinds: frozenset[str]
    description: str
    pool: str | None = None

    @property
    def sensitivity(self) -> str:
        """Whether its rows are `sealed`, because they precede redaction, or `redacted`."""
        return sensitivity(self.stages)


_LEGEND = """
**Reading a materialization.** `overview` has this run above and the tenant as a whole below. A materialization
by the stream merges the micro-batches since the previous one; `stream/micro_batches` is their number.

- `documents/…` counts this run: *done*, *deleted*, *unchanged* (landed again with the same input: no work), *overtaken* (a newer
  version landed while it was computed; the result was discarded), *waiting* (retried later), *failed* (a dead letter).
- `now/…` counts the tenant's documents: *done*, *failed*, *waiting*, *behind* (this stage has still to process them),
  *blocked* (an earlier stage failed or waits).
- `latency/…` is the time in seconds from an event's arrival in Kafka to this stage's commit, for this run's documents.
- `reasons` counts failures by reason code. `headrace dead-letters list` and `headrace explain` show single documents; Dagster never does.
"""

STAGE_ASSETS = (
    StageAsset(
        "parsed_documents", ("parse",), "document_events", frozenset({"docling", "postgres"}),
        "Content, inline or by reference, parsed to blocks: headings, paragraphs, lists, tables, code.\n\n"
        "Encrypted under the tenant's key, as it precedes redaction. A file that is damaged, too large, of an unknown format or that may "
        "not be fetched fails alone; its older version stays searchable. A document whose text is of too low quality, by the tenant's "
        "thresholds, is quarantined (`low-quality-text`, `low-ocr-confidence`, `mostly-empty-pages`) until it is published again or "
        "released by `headrace release`.\n\n"
        "`parse/bytes` is the size of what was read, `parse/empty` counts documents without text, `parse/pages/…` pages by the way they "
        "were read, `parse/dropped/…` omitted content, by kind.",
    ),
    StageAsset(
        "redacted_documents", ("redact",), "parsed_documents", frozenset({"presidio", "postgres"}),
        "Every text with its personal data replaced by keyed surrogates, such as `<EMAIL:7f3a>`.\n\n"
        "The same value has the same surrogate within a tenant, and a different one in another tenant. Titles, headings, link targets, "
        "file names and metadata are texts too. `redact/…` counts the values that were replaced, by kind. A document with a value "
        "that the tenant's profile quarantines stops here (`quarantined-by-policy`) until it is published without the value or "
        "released by `headrace release`.",
    ),
    StageAsset(
        "chunks", ("chunk",), "redacted_documents", frozenset({"python", "postgres"}),
        "Passages along the document's structure, bounded in the embedding model's tokens, stable under edits elsewhere.\n\n"
        "`chunk/chunks` and `chunk/tokens` count those of this run's documents, and `chunk/like_instructions` the chunks that read like "
        "instructions to a language model.",
    ),
    StageAsset(
        "embeddings", ("embed",), "chunks", frozenset({"pytorch", "postgres"}),
        "Vectors of the texts that this tenant has not embedded under this model.\n\n"
        "`embed/texts` counts the passages of this run's documents, `embed/cache_hits` those that had a vector already, `embed/embedded` "
        "those that the model had to compute: an edit embeds only what it changed. If there are any: `embed/tokens`, "
        "`embed/tokens_per_second` of the model's own time, `embed/padding_share`, and what computed them: "
        "`embed/backend`, `embed/device`, `embed/precision` and `embed/why`.\n\n"
        "Runs of this asset queue: the pool `embedder` has one place, unless `dagster instance concurrency set embedder` gave it more.",
        EMBEDDER,
    ),
    StageAsset(
        "vector_index", ("index",), "embeddings", frozenset({"postgres"}),
        "The swap: a document's new passages replace its old ones in one transaction.\n\n"
        "Until then the old version is searchable. An exact duplicate is stored once, with every document that has it. "
        "`headrace search` and the APIs read this index. `index/chunks` counts the passages of this run's documents, `index/empty` the "
        "documents that have none.",
    ),
    StageAsset(
        "knowledge_graph", ("graph", "project"), "vector_index", frozenset({"neo4j", "postgres"}),
        "Each document's contribution to Neo4j: sections, links, references, entities.\n\n"
        "Written to Postgres first (`graph/…`), then projected (`project/…`). While Neo4j is unavailable this asset fails after three "
        "retries; the index above it is complete all the same, and the lag sensor tries again.",
    ),
)  # fmt: skip

TOPIC = dg.AssetSpec(
    "documents_topic",
    description="The Kafka topics `documents.<tenant>`, written by source systems: one event per upsert or delete, keyed by document.",
    kinds={"kafka"},
    group_name=GROUP,
    tags={"headrace/sensitivity": "clear-text"},
)


@dg.asset(
    partitions_def=TENANTS,
    deps=[TOPIC],
    group_name=GROUP,
    kinds={"kafka", "postgres"},
    tags={"headrace/stage": "land", "headrace/sensitivity": sensitivity(["land"])},
    retry_policy=RETRY,
    description="Events, each landed once: the contract is checked, sequence and ownership are enforced, event and position commit "
    "together.\n\n"
    "Lands everything that is in the tenant's topic now.\n\n"
    "**Reading a materialization.** `events/…` counts this run: *landed* (a document's newest state), *unchanged* (nothing new in it), "
    "*superseded* (older than the present state: late or repeated), *unknown-document* (deletes of ids that were never published), "
    "*dead-lettered* (refused; `reasons` has the codes). "
    "`now/…` counts the tenant's documents: *live*, and the *tombstones* of deleted ones.",
)
def document_events(context: dg.AssetExecutionContext, headrace: dg.ResourceParam[Runtime]) -> dg.MaterializeResult[Any]:
    started, tenant = perf_counter(), context.partition_key
    with plain_failures():
        landed = headrace.land(tenant, _throttled(lambda total: context.log.info("%d events landed", total.events)))
        described = metadata.of_landing(landed, headrace.stage_counts(tenant, "land"), perf_counter() - started)
    return dg.MaterializeResult(metadata=described)


def stage_asset(declared: StageAsset) -> dg.AssetsDefinition:
    """The Dagster asset. It fails if a server that a stage needs is unavailable: Dagster's retry, or the next run, continues."""

    @dg.asset(
        name=declared.asset,
        partitions_def=TENANTS,
        deps=[declared.upstream],
        group_name=GROUP,
        kinds=set(declared.kinds),
        tags={"headrace/stage": ".".join(declared.stages), "headrace/sensitivity": declared.sensitivity},
        description=declared.description + "\n" + _LEGEND,
        retry_policy=RETRY,
        pool=declared.pool,
    )
    def materialize(context: dg.AssetExecutionContext, headrace: dg.ResourceParam[Runtime]) -> dg.MaterializeResult[Any]:
        described: dict[str, Any] = {}
        with plain_failures():
            for stage in declared.stages:
                report, of_stage = _run(context, headrace, stage)
                described |= prefixed(of_stage, stage) if len(declared.stages) > 1 else of_stage
                _fail_if_unavailable(context, report, described)
        return dg.MaterializeResult(metadata=described)

    return materialize


def _run(context: dg.AssetExecutionContext, headrace: Runtime, stage: str) -> tuple[Any, dict[str, Any]]:
    """The stage's report, and its metadata."""
    report = headrace.run(context.partition_key, stage, _throttled(lambda so_far: _log(context, so_far)))
    _log(context, report)
    return report, metadata.of_stage(report, headrace.stage_counts(context.partition_key, stage))


def _log(context: dg.AssetExecutionContext, report: Any) -> None:
    context.log.info("%s: %d documents, %d failed, %.1f s", report.stage, report.moved, report.failed, report.seconds)


def prefixed(described: dict[str, Any], stage: str) -> dict[str, Any]:
    """A stage's metadata under its name, for assets with two stages."""
    return {key if key.startswith(f"{stage}/") else f"{stage}/{key}": value for key, value in described.items()}


def _fail_if_unavailable(context: dg.AssetExecutionContext, report: Any, described: dict[str, Any]) -> None:
    if report.unavailable:
        message = f"{report.stage} waits: {report.unavailable}. Finished documents stay finished."
        # logged too: after the last retry Dagster's own failure mentions only the retries
        context.log.warning(message)
        raise dg.Failure(message, metadata=described, allow_retries=True)


def _throttled(report: Callable[[Any], None]) -> Callable[[Any], None]:
    """Call `report` at most once in `LOG_EVERY_S`: Dagster stores every line."""
    last = monotonic()

    def throttled(so_far: Any) -> None:
        nonlocal last
        if monotonic() - last >= LOG_EVERY_S:
            last = monotonic()
            report(so_far)

    return throttled


PIPELINE = [document_events, *(stage_asset(declared) for declared in STAGE_ASSETS)]
