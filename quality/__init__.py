"""Checks on what the stages made: expectations, parse quality, embedding health, freshness, consistency, residual personal data.

Pure functions from frames, arrays and counts to a `Check`; reading the rows and showing the result is the caller's part.
Dagster is not known here, nor is Postgres, and importing this package loads neither polars nor Great Expectations.
"""

from quality.check import Check, CheckError
from quality.consistency import completeness, freshness, graph_consistency, nothing_lost, stream_slots
from quality.expectations import chunk_schema, chunks, landed_events, landed_schema
from quality.health import embedding_health
from quality.legibility import parse_quality
from quality.residual.check import residual_pii
from quality.texts import describe_texts

__all__ = [
    "Check",
    "CheckError",
    "chunk_schema",
    "chunks",
    "completeness",
    "describe_texts",
    "embedding_health",
    "freshness",
    "graph_consistency",
    "landed_events",
    "landed_schema",
    "nothing_lost",
    "parse_quality",
    "residual_pii",
    "stream_slots",
]
