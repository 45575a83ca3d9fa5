"""`headrace doctor`: every service, role, extension, key and model, and what to do where one is not as it should be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from core.config import Endpoints, Settings, master_key_bytes
from core.errors import HeadraceError
from core.sql import statements
from core.tenancy import Database
from pipelines.app import Headrace


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `remedy` is empty where it is well."""

    what: str
    well: bool
    found: str
    remedy: str = ""


def diagnose(settings: Settings) -> Iterator[Finding]:
    """Findings in the order in which things depend on each other; what cannot be looked at is left out."""
    import services

    yield Finding("configuration", well=True, found="read and consistent")
    try:
        endpoints = services.endpoints(settings)
    except HeadraceError as error:
        yield Finding("servers", well=False, found=error.detail, remedy=error.remedy)
        return
    yield from _each(settings, endpoints)


def _each(settings: Settings, endpoints: Endpoints) -> Iterator[Finding]:
    with Headrace(settings, endpoints) as headrace:
        looks: dict[str, Callable[[], str]] = {
            "postgres, as pipeline": lambda: _postgres(headrace.database),
            "postgres, as reader": lambda: _postgres(headrace.readers),
            "migrations": lambda: _migrations(endpoints),
            "least privilege": lambda: _privilege(headrace.database),
            "kafka": lambda: _kafka(headrace),
            "neo4j": lambda: _neo4j(headrace),
            "master key and tenants' keys": lambda: _keys(headrace),
            "embedding model": lambda: _embedder(headrace),
            "redaction": lambda: f"profile {settings.privacy.profile}, {headrace.models.redactor.fingerprint}",
        }
        for what, look in looks.items():
            yield _looked(what, look)


def _looked(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what, well=True, found=look())
    except HeadraceError as error:
        return Finding(what, well=False, found=error.detail, remedy=error.remedy or f"Reason code: {error.reason}.")


def _postgres(database: Database) -> str:
    with database.control() as connection:
        row = _one(connection, "server")
    if row["vector"] is None:
        raise HeadraceError("the extension `vector` is not there", remedy="As a superuser: CREATE EXTENSION vector.")
    return f"{row['role']}, PostgreSQL {row['version']}, pgvector {row['vector']}"


def _privilege(database: Database) -> str:
    with database.control() as connection:
        row = _one(connection, "privilege")
    if row["superuser"] or row["bypasses"] or row["owns"]:
        raise HeadraceError(
            "the pipeline role is superuser, bypasses row security or owns tables", remedy="See services/sql/bootstrap.sql."
        )
    return "the pipeline's role owns nothing and bypasses nothing"


def _migrations(endpoints: Endpoints) -> str:
    from index.migrate import pending

    waiting = pending(endpoints.postgres_owner.get_secret_value())
    if waiting:
        raise HeadraceError(f"not applied: {', '.join(waiting)}", remedy="Run `headrace migrate`.")
    return "up to date"


def _kafka(headrace: Headrace) -> str:
    from events.contract import topic_of

    topics = [topic_of(tenant.tenant) for tenant in headrace.tenants()]
    ends = headrace.reader.high_watermarks(topics)
    return f"{headrace.endpoints.kafka_bootstrap}, {len(topics)} tenants' topics, {len(ends)} partitions"


def _neo4j(headrace: Headrace) -> str:
    headrace.models.projection.prepare()
    return f"{headrace.endpoints.neo4j_url}, constraints in place"


def _keys(headrace: Headrace) -> str:
    from privacy import tenant_keys

    master = master_key_bytes(headrace.endpoints.master_key)
    tenants = headrace.tenants()
    for tenant in tenants:
        tenant_keys(master, tenant.tenant, tenant.wrapped_key)
    return f"opens the data keys of {len(tenants)} tenants"


def _embedder(headrace: Headrace) -> str:
    embedder = headrace.models.embedder
    embedder.encode(["A headrace brings water to the wheel."], "query")
    return f"{headrace.settings.embedding.model}, {embedder.dimension} dimensions, {embedder.identity}"


def _one(connection: Any, name: str) -> dict[str, Any]:
    row: dict[str, Any] = connection.execute(statements("pipelines", "sql/diagnosis.sql")[name]).fetchall()[0]
    return row
