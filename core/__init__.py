"""What every stage shares: records, the ledger, tenancy, configuration, errors.

Imports only the standard library and small basics (psycopg, polars, msgspec, pydantic-settings, zstandard).
It knows no stage, no Kafka, no Neo4j, no Dagster.
"""
