"""A tenant's coming and going, over all three servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.config import master_key_bytes
from core.tenancy import valid_tenant
from pipelines.app import Headrace


def add(headrace: Headrace, tenant: str, configuration: Mapping[str, Any] | None = None) -> None:
    """Topics in Kafka; roles, partitions and a data key in Postgres. Raises TenantError where the name is not allowed or taken.

    Postgres comes last, and goes last in `remove`: what was cut off is done by repeating it.
    """
    from events.kafka import ensure_topics
    from index.migrate import create_tenant
    from privacy import new_data_key

    endpoints, kafka = headrace.endpoints, headrace.settings.kafka
    wrapped = new_data_key(master_key_bytes(endpoints.master_key), valid_tenant(tenant))
    ensure_topics(endpoints.kafka_client(), tenant, kafka.partitions, kafka.replication)
    create_tenant(endpoints.postgres_owner.get_secret_value(), tenant, wrapped, configuration or {})


def remove(headrace: Headrace, tenant: str) -> None:
    """Everything of a tenant: its topics, its graph, its key and rows. Raises TenantError where there is none of that name."""
    from events.kafka import delete_topics
    from index.migrate import drop_tenant

    headrace.database.get(tenant)
    delete_topics(headrace.endpoints.kafka_client(), tenant)
    headrace.models.projection.drop(tenant)
    drop_tenant(headrace.endpoints.postgres_owner.get_secret_value(), tenant)
