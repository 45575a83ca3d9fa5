"""Adding, configuring and removing tenants, over all three servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.config import Settings
from core.errors import ConfigurationError, PolicyError
from core.freshness import FRESHNESS, valid_target
from core.keys import TenantKeys
from core.policy import Policy
from core.tenancy import Tenant, valid_tenant
from pipelines import sealed_settings
from pipelines.each_tenant import Attempt, each_tenant
from pipelines.governance.installation_keys import refuse_former
from pipelines.governance.legal_hold import refuse_held
from pipelines.models import with_model
from pipelines.resources import Resources


def add(resources: Resources, tenant: str, configuration: Mapping[str, Any] | None = None) -> None:
    """Create a tenant's topics in Kafka, and its roles, partitions and data key in Postgres.

    Raises TenantError if the name is not allowed or taken, and ConfigurationError if the configuration is not valid, or the configured
    master key is not in force (`master-key-changed`). Postgres comes last, here and in `remove`, so that repeating the call completes one
    that was cut off.
    """
    from core.schema.migrate import create_tenant
    from events.kafka.topics import ensure_topics
    from privacy import new_data_key, tenant_keys

    checked(resources.settings, configuration or {})
    endpoints, kafka = resources.endpoints, resources.settings.kafka
    master = resources.master_key
    wrapped = new_data_key(master, valid_tenant(tenant))
    at_rest = sealed_settings.sealed(configuration or {}, lambda: tenant_keys(master, tenant, wrapped))
    ensure_topics(endpoints.kafka_client(), tenant, kafka.partitions, kafka.replication)
    create_tenant(resources.owner_url, tenant, wrapped, at_rest, lambda connection: refuse_former(resources, connection))


def configure(resources: Resources, tenant: str, **changes: Any) -> None:
    """Change these keys of the tenant's configuration and no others. Lists of personal values are sealed under the tenant's key.

    Raises ConfigurationError or PolicyError if a value is not valid, and TenantError.
    """
    from core.schema.migrate import configure_tenant

    def keys() -> TenantKeys:
        return resources.keys(resources.database.get(tenant))

    checked(resources.settings, sealed_settings.opened(changes, keys))
    configure_tenant(resources.owner_url, tenant, sealed_settings.sealed(changes, keys))


def checked(settings: Settings, configuration: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration itself. Raises ConfigurationError (`bad-freshness`) or PolicyError, with the value, if it is not valid."""
    if FRESHNESS in configuration:
        valid_target(configuration[FRESHNESS])
    policy = settings.policy(configuration)
    if "reading" in configuration and policy.reading.pdf == "model":
        _require_models(settings)
    if "embedding" in configuration:
        _require_embedding_model(settings, policy)
    return configuration


def _require_models(settings: Settings) -> None:
    """Check for the models now, and not only when documents come. Raises PolicyError."""
    from parsers.docling.weights import identity

    try:
        identity(settings.parsing.models)
    except ConfigurationError as error:
        raise PolicyError(error.detail, remedy=error.remedy) from None


def _require_embedding_model(settings: Settings, policy: Policy) -> None:
    """Find and verify the model's files now. Raises PolicyError."""
    from embedders.stage import load

    try:
        load(with_model(settings.embedding, policy.embedding), settings.cache_dir).close()
    except ConfigurationError as error:
        raise PolicyError(error.detail, remedy=error.remedy) from None


def remove(resources: Resources, tenant: str) -> None:
    """Delete everything of a tenant: its topics, graph, key and rows. Raises TenantError, and HeadraceError `legal-hold`."""
    from core.schema.migrate import drop_tenant
    from events.kafka.topics import delete_topics

    projection = resources.models.projection

    def drop_outside_postgres() -> None:
        delete_topics(resources.endpoints.kafka_client(), tenant)
        projection.drop(tenant)

    refuse_held(resources, tenant)
    projection.drop(tenant)  # most of it, before the tenant is locked; a running stage may still write more
    drop_tenant(resources.owner_url, tenant, drop_outside_postgres)


def seal_all(resources: Resources) -> list[Attempt[bool]]:
    """Seal the lists of personal values that an earlier version stored in clear, as the owner role. A result: whether there were any."""
    return list(each_tenant(resources, lambda tenant: _seal_one(resources, tenant)))


def _seal_one(resources: Resources, tenant: Tenant) -> bool:
    from core.schema.migrate import reconfigure_tenant

    def change(configuration: Mapping[str, Any]) -> Mapping[str, Any]:
        return sealed_settings.sealed(configuration, lambda: resources.keys(tenant))

    if change(tenant.configuration) == tenant.configuration:
        return False
    reconfigure_tenant(resources.owner_url, tenant.tenant, change)
    return True
