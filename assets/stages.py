"""One asset per arrow. Each takes whatever is stale for its stage and tenant, so that materializing twice does nothing twice."""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, perf_counter
from typing import Any

import dagster as dg

from assets import metadata
from assets.boundary import plain_failures
from assets.runtime import TENANTS, Runtime

GROUP = "documents_to_index"
RETRY = dg.RetryPolicy(max_retries=3, delay=2, backoff=dg.Backoff.EXPONENTIAL)
"""Only where a server is away: `plain_failures` leaves nothing else to retry."""

TELL_S = 5.0

EMBEDDER = "embedder"
"""The pool of the embedding model: each run is a process with a model of its own, and two of them share one GPU, or one machine's cores,
badly. In it is the one asset that computes vectors, for as long as it computes. The stream is not: as it never ends, a place that it held
would be free for nobody.
"""


@dataclass(frozen=True)
class Arrow:
    """An asset, the stages that it runs, the asset above it, and what a person should know.

    `holds` is what its rows are: `sealed` precedes redaction and is encrypted, `redacted` is not. `pool` is what it takes a place in while
    it runs, across all runs.
    """

    asset: str
    stages: tuple[str, ...]
    upstream: str
    kinds: frozenset[str]
    holds: str
    description: str
    pool: str | None = None


_LEGEND = """
**Reading a materialization.** `overview` has this run above and the tenant as a whole below. One by the stream counts as its run
the micro-batches since the one before: `stream/micro_batches` of them.

- `documents/…` counts this run: *done*, *deleted*, *unchanged* (landed again with the same input: no work), *overtaken* (a newer
  version came while it was computed; the result was thrown away), *waiting* (tried again later), *failed* (a dead letter).
- `now/…` counts the tenant's documents: *done*, *failed*, *waiting*, *behind* (this stage has still to take them),
  *held_up* (an earlier stage failed or waits).
- `latency/…` is the time in seconds from an event's arrival in Kafka to this stage's commit, of this run's documents.
- `reasons` says why, by code. `headrace dead-letters list` and `headrace explain` tell of single documents; Dagster never hears of one.
"""

ARROWS = (
    Arrow(
        "parsed_documents", ("parse",), "document_events", frozenset({"docling", "postgres"}), "sealed",
        "Content, inline or by reference, parsed to blocks: headings, paragraphs, lists, tables, code.\n\n"
        "Encrypted under the tenant's key, as it precedes redaction. A file that is damaged, too large, of no known format or not allowed "
        "to be fetched fails alone; its older version stays searchable. What can be read only badly, by the tenant's thresholds, "
        "is put aside (`low-quality-text`, `low-ocr-confidence`, `mostly-empty-pages`) until it is published anew or let "
        "pass by `headrace release`.\n\n"
        "`parse/bytes` is what was read, `parse/pages/…` pages by the way they were read, `parse/dropped/…` what was left out, by kind.",
    ),
    Arrow(
        "redacted_documents", ("redact",), "parsed_documents", frozenset({"presidio", "postgres"}), "redacted",
        "Every text with its personal data replaced by keyed surrogates, such as `<EMAIL:7f3a>`.\n\n"
        "The same value has the same surrogate within a tenant and another one in the next tenant. Titles, headings, link targets, "
        "file names and metadata are texts too. `redact/…` counts the values that were replaced, by kind. A document with a value "
        "that the tenant's profile quarantines is put aside (`quarantined-by-policy`) until it is published without it or let "
        "pass by `headrace release`.",
    ),
    Arrow(
        "chunks", ("chunk",), "redacted_documents", frozenset({"python", "postgres"}), "redacted",
        "Passages along the document's structure, bounded in the embedding model's tokens, stable under edits elsewhere.\n\n"
        "`chunk/chunks` and `chunk/tokens` are those of the documents of this run.",
    ),
    Arrow(
        "embeddings", ("embed",), "chunks", frozenset({"pytorch", "postgres"}), "redacted",
        "Vectors of the texts that this tenant has not embedded under this model.\n\n"
        "`embed/texts` is how many passages this run's documents have, `embed/cache_hits` how many of them had a vector already, "
        "`embed/embedded` how many the model had to read: an edit embeds only what it changed. Where it read some: their `embed/tokens`, "
        "`embed/tokens_per_second` of the model's own time, `embed/padding_share` of what it computed, and what computed them: "
        "`embed/backend`, `embed/device`, `embed/precision` and `embed/why`.\n\n"
        "Runs take turns here: the pool `embedder` has one place, unless `dagster instance concurrency set embedder` gave it more.",
        EMBEDDER,
    ),
    Arrow(
        "vector_index", ("index",), "embeddings", frozenset({"postgres"}), "redacted",
        "The swap: a document's new passages become searchable and its old ones go, in one transaction.\n\n"
        "Until then the old version is what is found. An exact duplicate is stored once, with each document that it comes from. "
        "What is here is what `headrace search` and the APIs read.",
    ),
    Arrow(
        "knowledge_graph", ("graph", "project"), "vector_index", frozenset({"neo4j", "postgres"}), "redacted",
        "What each document contributes to Neo4j: sections, links, references, entities.\n\n"
        "Written to Postgres first (`graph/…`), then projected (`project/…`). While Neo4j is away this asset fails after three retries; "
        "the index above it is complete all the same, and the lag sensor tries again.",
    ),
)  # fmt: skip

TOPIC = dg.AssetSpec(
    "documents_topic",
    description="The Kafka topics `documents.<tenant>`, where source systems publish: one event per upsert or delete, keyed by document.",
    kinds={"kafka"},
    group_name=GROUP,
    tags={"headrace/holds": "clear-text"},
)


@dg.asset(
    partitions_def=TENANTS,
    deps=[TOPIC],
    group_name=GROUP,
    kinds={"kafka", "postgres"},
    tags={"headrace/stage": "land", "headrace/holds": "sealed"},
    retry_policy=RETRY,
    description="Events landed once: the contract checked, sequence and ownership fenced, event and position in one transaction.\n\n"
    "Takes everything that is in the tenant's topic as of now.\n\n"
    "**Reading a materialization.** `events/…` counts this run: *landed* (a document's newest state), *unchanged* (nothing new in it), "
    "*superseded* (older than what is there: late or repeated), *dead-lettered* (refused; `reasons` says why, by code). "
    "`now/…` counts the tenant's documents: *live* and *tombstones*, which are what deletes leave.",
)
def document_events(context: dg.AssetExecutionContext, headrace: dg.ResourceParam[Runtime]) -> dg.MaterializeResult[Any]:
    started, tenant = perf_counter(), context.partition_key
    with plain_failures():
        landed = headrace.land(tenant, _paced(lambda total: context.log.info("%d events landed", total.events)))
        told = metadata.of_landing(landed, headrace.stage_counts(tenant, "land"), perf_counter() - started)
    return dg.MaterializeResult(metadata=told)


def stage_asset(arrow: Arrow) -> dg.AssetsDefinition:
    """The asset of one arrow. It fails where a server that its stage needs is away: Dagster's retry, or the next run, goes on."""

    @dg.asset(
        name=arrow.asset,
        partitions_def=TENANTS,
        deps=[arrow.upstream],
        group_name=GROUP,
        kinds=set(arrow.kinds),
        tags={"headrace/stage": ".".join(arrow.stages), "headrace/holds": arrow.holds},
        description=arrow.description + "\n" + _LEGEND,
        retry_policy=RETRY,
        pool=arrow.pool,
    )
    def materialize(context: dg.AssetExecutionContext, headrace: dg.ResourceParam[Runtime]) -> dg.MaterializeResult[Any]:
        told: dict[str, Any] = {}
        with plain_failures():
            for stage in arrow.stages:
                report, described = _run(context, headrace, stage)
                told |= named(described, stage) if len(arrow.stages) > 1 else described
                _fail_where_a_server_is_away(context, report, told)
        return dg.MaterializeResult(metadata=told)

    return materialize


def _run(context: dg.AssetExecutionContext, headrace: Runtime, stage: str) -> tuple[Any, dict[str, Any]]:
    """The stage's report, and its metadata."""
    report = headrace.run(context.partition_key, stage, _paced(lambda so_far: _tell(context, so_far)))
    _tell(context, report)
    return report, metadata.of_stage(report, headrace.stage_counts(context.partition_key, stage))


def _tell(context: dg.AssetExecutionContext, report: Any) -> None:
    context.log.info("%s: %d documents, %d failed, %.1f s", report.stage, report.moved, report.failed, report.seconds)


def named(told: dict[str, Any], stage: str) -> dict[str, Any]:
    """Where an asset has two stages, each one's metadata under its name."""
    return {key if key.startswith(f"{stage}/") else f"{stage}/{key}": value for key, value in told.items()}


def _fail_where_a_server_is_away(context: dg.AssetExecutionContext, report: Any, told: dict[str, Any]) -> None:
    if report.unavailable:
        said = f"{report.stage} waits: {report.unavailable}. What was done stays done."
        # after the last retry Dagster's own failure speaks of retries alone
        context.log.warning(said)
        raise dg.Failure(said, metadata=told, allow_retries=True)


def _paced(tell: Callable[[Any], None]) -> Callable[[Any], None]:
    """At most one line in `TELL_S`: Dagster keeps every one."""
    last = monotonic()

    def paced(so_far: Any) -> None:
        nonlocal last
        if monotonic() - last >= TELL_S:
            last = monotonic()
            tell(so_far)

    return paced


WAY = [document_events, *(stage_asset(arrow) for arrow in ARROWS)]
