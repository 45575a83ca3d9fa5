"""Diagnosis of an installation: every service, role, extension, key and model, with a remedy for each problem."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from pydantic import SecretStr

from core.config import Endpoints, Settings
from core.errors import HeadraceError, described
from core.freshness import target_s
from core.section import Section
from core.sql import statements
from core.tenancy import Connection, Database, Tenant
from pipelines.each_tenant import by_error, each_tenant
from pipelines.governance import surrogate_keys
from pipelines.resources import Resources

T = TypeVar("T")


@dataclass(frozen=True)
class Finding:
    """The result of one examination. `remedy` is empty if it is well."""

    what: str
    well: bool
    found: str
    remedy: str = ""


def diagnose(settings: Settings) -> Iterator[Finding]:
    """Findings, in the order in which things depend on each other. What depends on a failed one may be omitted."""
    import services

    yield Finding("configuration", well=True, found="read and consistent")
    try:
        endpoints = services.endpoints(settings)
    except HeadraceError as error:
        yield Finding("servers", well=False, found=error.detail, remedy=error.remedy)
        return
    with Resources(settings, endpoints) as resources:
        yield from _examine_all(_servers(resources))
        schema = _examine("migrations", lambda: _migrations(endpoints))
        yield schema
        if schema.well:
            yield from _examine_all(_contents(resources))
        yield from _examine_all(_models(resources))
        if schema.well:
            yield from _tenants(resources)


def _servers(resources: Resources) -> dict[str, Callable[[], str]]:
    return {
        "postgres, as owner": lambda: _postgres(resources.endpoints.postgres_owner),
        "postgres, as pipeline": lambda: _least_privilege(resources.database),
        "postgres, as reader": lambda: _least_privilege(resources.readers),
        "postgres, for dagster": lambda: _postgres(resources.endpoints.postgres_dagster, vector=False),
        "neo4j": lambda: _neo4j(resources),
    }


def _contents(resources: Resources) -> dict[str, Callable[[], str]]:
    return {
        "kafka": lambda: _kafka(resources),
        "row-level security": lambda: _row_level_security(resources),
    }


def _models(resources: Resources) -> dict[str, Callable[[], str]]:
    return {
        "embedding model": lambda: _embedder(resources),
        "parsers": lambda: _parsers(resources),
        "redaction": lambda: _redaction(resources),
        "names model for the graph": lambda: _names_model(resources),
    }


def _tenants(resources: Resources) -> Iterator[Finding]:
    """One finding for each examination if every tenant is well, else one for each problem, with the tenants that have it."""
    yield from _each(resources, "master key and tenants' keys", _keys(resources), _opened)
    yield from _each(resources, "tenants' settings", _settings(resources), lambda found: f"those of {len(found)} tenants are valid")
    yield from _each(resources, "tenants' models", _own_models(resources), lambda found: f"those of {len(found)} tenants load")
    yield from _each(resources, "tenants' roles", _roles(resources), lambda _: "can be assumed, their indexes are of the configured model")
    yield from _each(resources, "tenants' topics", _topics(resources), lambda found: f"{len(found)}, {sum(found)} partitions")


def _each(resources: Resources, what: str, examine: Callable[[Tenant], T], well: Callable[[list[T]], str]) -> Iterator[Finding]:
    try:
        made = list(each_tenant(resources, examine))
    except HeadraceError as error:
        yield _problem(what, error)
        return
    problems = [_problem(what, error, f"{tenants}: ") for error, tenants in by_error(made)]
    yield from problems or [Finding(what, well=True, found=well([attempt.done for attempt in made]))]


def _opened(rotations: list[str]) -> str:
    return f"opens the data keys of {len(rotations)} tenants{''.join(rotations)}"


def _examine_all(examinations: Mapping[str, Callable[[], str]]) -> Iterator[Finding]:
    for what, examination in examinations.items():
        yield _examine(what, examination)


def _examine(what: str, examination: Callable[[], str]) -> Finding:
    """`examination` returns what it found, or raises HeadraceError."""
    try:
        return Finding(what, well=True, found=examination())
    except HeadraceError as error:
        return _problem(what, error)


def _problem(what: str, error: HeadraceError, before: str = "") -> Finding:
    return Finding(what, well=False, found=before + error.detail, remedy=error.remedy or f"See {error.reason} in docs/cli.md.")


def _parsers(resources: Resources) -> str:
    """Start a worker process of the kind that reads most documents."""
    from parsers.pdf import ocr

    resources.models.parsers.warm(resources.settings.reading)
    recognised = "" if ocr.available() else ", without text recognition (extra ocr)"
    return f"a confined worker starts; PDFs in the grade {resources.settings.reading.pdf!r}{recognised}"


def _names_model(resources: Resources) -> str:
    found = any(extractor.name == "names" for extractor in resources.models.extractors)
    return f"{resources.settings.privacy.names_model}" if found else "none"


def _redaction(resources: Resources) -> str:
    """Redact an address, under a key that is discarded."""
    from privacy import new_data_key, redact_text, tenant_keys

    master, redactor = os.urandom(32), resources.models.redactor(resources.settings.privacy)
    keys = tenant_keys(master, "doctor", new_data_key(master, "doctor"))
    if "<EMAIL:" not in redact_text("Write to somebody@example.com.", redactor, keys):
        raise HeadraceError("an e-mail address was not found", remedy="Set the environment up again from the lock: `make env`.")
    return f"profile {resources.settings.privacy.profile}, {redactor.fingerprint}"


def _postgres(url: SecretStr, *, vector: bool = True) -> str:
    with Database(url.get_secret_value()) as database:
        return _server(database, vector=vector)


def _server(database: Database, *, vector: bool = True) -> str:
    with database.control() as connection:
        row = _one(connection, "server")
    if vector and row["vector"] is None:
        raise HeadraceError("the extension `vector` is not installed", remedy="As a superuser: CREATE EXTENSION vector.")
    return f"{row['role']}, PostgreSQL {row['version']}" + (f", pgvector {row['vector']}" if vector else "")


def _least_privilege(database: Database) -> str:
    """Refuses a login that has more rights than to assume tenants' roles: row-level security would not stop it."""
    server = _server(database)
    with database.control() as connection:
        row = _one(connection, "privilege")
    excess = [name.replace("_", " ") for name, has in row.items() if has]
    if excess:
        raise HeadraceError(f"its role has more rights than it needs: {', '.join(excess)}", remedy="See services/sql/bootstrap.sql.")
    return f"{server}, owns nothing, inherits nothing and bypasses nothing"


def _migrations(endpoints: Endpoints) -> str:
    from core.schema.migrate import pending

    waiting = pending(endpoints.postgres_owner.get_secret_value())
    if waiting:
        raise HeadraceError(f"not applied: {', '.join(waiting)}", remedy="Run `headrace migrate`.")
    return "up to date"


def _row_level_security(resources: Resources) -> str:
    with resources.database.control() as connection:
        unguarded = _one(connection, "unguarded")["tables"]
    if unguarded:
        raise HeadraceError(
            f"{unguarded} tables do not force it", remedy="ALTER TABLE … ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY, as the owner."
        )
    return "forced on every table"


def _kafka(resources: Resources) -> str:
    resources.reader.high_watermarks([])
    return f"{resources.endpoints.kafka_bootstrap}, answers"


def _neo4j(resources: Resources) -> str:
    resources.models.projection.prepare()
    return f"{resources.endpoints.neo4j_url}, constraints in place"


def _keys(resources: Resources) -> Callable[[Tenant], str]:
    """The tenant's data key opens. Returns what is to be said of a rotation."""

    def examine(tenant: Tenant) -> str:
        resources.keys(tenant)
        documents = surrogate_keys.remaining(resources, tenant.tenant)
        return "" if documents is None else f"; {tenant.tenant} has two surrogate keys, {documents} documents still to redact again"

    return examine


def _settings(resources: Resources) -> Callable[[Tenant], None]:
    """The tenant's own settings are valid, sealed lists and freshness target included."""

    def examine(tenant: Tenant) -> None:
        resources.session(tenant.tenant)
        target_s(tenant.configuration)

    return examine


def _own_models(resources: Resources) -> Callable[[Tenant], None]:
    """What the tenant's settings ask for loads: each section once, however many tenants share it."""
    tried: dict[Section, HeadraceError | None] = {}

    def load(section: Section, warm: Callable[[], object]) -> None:
        if section not in tried:
            try:
                warm()
                tried[section] = None
            except Exception as error:  # noqa: BLE001 - a model's library may raise anything; the finding is this model's
                tried[section] = described(error)
        if failed := tried[section]:
            raise failed

    def examine(tenant: Tenant) -> None:
        try:
            policy = resources.session(tenant.tenant).policy
        except Exception:  # noqa: BLE001 - reported among the settings
            return
        load(policy.privacy, lambda: resources.models.redactor(policy.privacy))
        load(policy.reading, lambda: resources.models.parsers.warm(policy.reading))

    return examine


def _roles(resources: Resources) -> Callable[[Tenant], None]:
    """The tenant's two roles can be assumed, and its index was built with the configured model."""
    from index.generations import refuse_changed

    def examine(tenant: Tenant) -> None:
        model = resources.models.embedder.model
        for database in (resources.database, resources.readers):
            with database.tenant(tenant.tenant) as connection:
                refuse_changed(connection, model)
                found = _one(connection, "other_model", model=model.identity)["generations"]
        if found:
            raise HeadraceError("the active index was built with another embedding model", remedy="`headrace ingest` rebuilds it.")

    return examine


def _topics(resources: Resources) -> Callable[[Tenant], int]:
    """Kafka answers for every partition of the tenant's topic. Returns their number. All topics are asked for at once, then the others."""
    from events.contract import topic_of

    @cache
    def answered() -> Counter[str]:
        there = resources.topics.ids([topic_of(tenant.tenant) for tenant in resources.tenants()])
        return Counter(topic for topic, _ in resources.reader.answered_high_watermarks(there))

    def examine(tenant: Tenant) -> int:
        topic = topic_of(tenant.tenant)
        # the others are asked for one by one, which raises the reason
        return answered()[topic] or len(resources.reader.high_watermarks([topic]))

    return examine


def _embedder(resources: Resources) -> str:
    embedder = resources.models.embedder
    embedder.encode(["A headrace brings water to the wheel."], "query")
    about = embedder.about
    computes = f"{about['backend']} {about['precision']} on {about['device']}: {about['why']}"
    return f"{resources.settings.embedding.model}, {embedder.dimension} dimensions, {embedder.identity}; {computes}"


def _one(connection: Connection, name: str, **values: Any) -> dict[str, Any]:
    return connection.execute(_SQL[name], values).fetchall()[0]


_SQL = statements("pipelines.operations", "sql/doctor.sql")
