"""Checks on the results of the stages: pure functions from frames, arrays and counts to a `Check`.

- `catalogue`: the checks of a tenant, by name; `check`: a check's result
- `expectations`: landed events and chunks, by Great Expectations; `texts`: measures of chunk texts
- `legibility`: parse quality; `health`: embeddings; `consistency`: freshness, losses, completeness, the graph;
  `recall`: the vector index; `ranking_quality`: judged queries
- `residual/`: personal data that redaction missed

Reading rows and showing results is up to the caller: this package knows neither Dagster nor Postgres. Importing it loads neither polars nor
Great Expectations.
"""

from quality.check import Check, CheckError
from quality.consistency import freshness, graph_consistency, index_completeness, nothing_lost, stream_slots
from quality.expectations import chunk_quality, chunk_schema, contract, landed_schema
from quality.health import embedding_health
from quality.legibility import parse_quality
from quality.ranking_quality import retrieval_quality
from quality.recall import vector_recall
from quality.residual.check import residual_pii
from quality.texts import describe_texts

__all__ = [
    "Check",
    "CheckError",
    "chunk_quality",
    "chunk_schema",
    "contract",
    "describe_texts",
    "embedding_health",
    "freshness",
    "graph_consistency",
    "index_completeness",
    "landed_schema",
    "nothing_lost",
    "parse_quality",
    "residual_pii",
    "retrieval_quality",
    "stream_slots",
    "vector_recall",
]
