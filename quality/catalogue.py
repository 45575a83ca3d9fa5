"""The checks of a tenant, declared once: names, assets and questions. Each is computed by the function of this package with its name.

`assets.checks` makes Dagster checks of them, and `pipelines.operations.checks` reads what each of them needs, under the same names.
`stream_slots` is not of a tenant: `pipelines.dagster.stream_sensor` declares it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Declaration:
    """One check. `asset`: the Dagster asset it judges. `blocking`: whether a failure with severity `error` stops the assets below."""

    name: str
    asset: str
    blocking: bool
    question: str


CHECKS = (
    Declaration(
        "contract",
        asset="document_events",
        blocking=True,
        question="Are landed events complete: keys, sequences, fates, times, positions?",
    ),
    Declaration(
        "freshness",
        asset="document_events",
        blocking=False,
        question="How old is the oldest event that is not searchable yet, and how far behind is the topic?",
    ),
    Declaration(
        "nothing_lost",
        asset="document_events",
        blocking=False,
        question="Did Kafka still have every event when it was to be read?",
    ),
    Declaration(
        "parse_quality",
        asset="parsed_documents",
        blocking=False,
        question="Is the text of parsed documents legible, that of released ones too?",
    ),
    Declaration(
        "residual_pii",
        asset="redacted_documents",
        blocking=True,
        question="How much personal data does a second detector, with another method, still find?",
    ),
    Declaration(
        "chunk_quality",
        asset="chunks",
        blocking=False,
        question="Are chunks within the model's limits, readable, and each with a source?",
    ),
    Declaration(
        "embedding_health",
        asset="embeddings",
        blocking=True,
        question="Are vectors of the right dimension, finite, of unit length, and not all alike?",
    ),
    Declaration(
        "index_completeness",
        asset="vector_index",
        blocking=False,
        question="Is every live document searchable, or known to have failed?",
    ),
    Declaration(
        "vector_recall",
        asset="vector_index",
        blocking=False,
        question="Does the HNSW index find the passages that comparing every vector finds?",
    ),
    Declaration(
        "retrieval_quality",
        asset="vector_index",
        blocking=False,
        question="Do judged queries still find what they found when they were kept?",
    ),
    Declaration(
        "graph_consistency",
        asset="knowledge_graph",
        blocking=False,
        question="Does Neo4j have the documents that the ledger in Postgres records as projected?",
    ),
)

NAMES = tuple(check.name for check in CHECKS)
