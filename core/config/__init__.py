"""Configuration: sections, settings as a whole, and the servers' endpoints. Read once at start-up; refused there if it cannot work."""

from core.config.endpoints import Endpoints, master_key_bytes
from core.config.sections import (
    Dagster,
    Embedding,
    Endpoint,
    Fetching,
    Kafka,
    Neo4j,
    Parsing,
    Postgres,
    Reranking,
    Serve,
    Stream,
)
from core.config.settings import Settings, load
from core.policy import Chunking, Policy, Privacy, Reading, Retention

__all__ = [
    "Chunking",
    "Dagster",
    "Embedding",
    "Endpoint",
    "Endpoints",
    "Fetching",
    "Kafka",
    "Neo4j",
    "Parsing",
    "Policy",
    "Postgres",
    "Privacy",
    "Reading",
    "Reranking",
    "Retention",
    "Serve",
    "Settings",
    "Stream",
    "load",
    "master_key_bytes",
]
