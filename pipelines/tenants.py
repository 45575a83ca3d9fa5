"""A tenant's coming and going, over all three servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.config import master_key_bytes
from core.tenancy import valid_tenant
from pipelines.app import Headrace


def add(headrace: Headrace, tenant: str, configuration: Mapping[str, Any] | None = None) -> None:
    """Roles, partitions and a data key in Postgres; topics in Kafka. Raises TenantError where the name is not allowed or taken."""
    from events.kafka import ensure_topics
    from index.migrate import create_tenant
    from privacy import new_data_key

    endpoints, kafka = headrace.endpoints, headrace.settings.kafka
    wrapped = new_data_key(master_key_bytes(endpoints.master_key), valid_tenant(tenant))
    create_tenant(endpoints.postgres_owner.get_secret_value(), tenant, wrapped, configuration or {})
    ensure_topics(endpoints.kafka_client(), tenant, kafka.partitions, kafka.replication)


def remove(headrace: Headrace, tenant: str) -> None:
    """Everything of a tenant: its key and rows, its graph, its topics."""
    from events.kafka import delete_topics
    from index.migrate import drop_tenant

    headrace.database.get(tenant)
    headrace.models.projection.drop(tenant)
    drop_tenant(headrace.endpoints.postgres_owner.get_secret_value(), tenant)
    delete_topics(headrace.endpoints.kafka_client(), tenant)
