"""What one process of Headrace holds: settings, connections, keys, models. Each is opened on first use and closed with the whole.

What is done with them is not here: everything above takes `Resources` and is a function of it.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING, Self

from core.config import Endpoints, Settings, master_key_bytes
from core.keys import TenantKeys
from core.ledger.stage import Session
from core.tenancy import Database, Tenant
from pipelines import sealed_settings

if TYPE_CHECKING:
    from events.kafka.reader import Reader
    from events.kafka.topics import Topics
    from pipelines.models import Models
    from pipelines.outbox import Outbox


class Resources:
    """Settings, connections, keys and models of one process. Use it as a context manager. Threads may share it."""

    def __init__(self, settings: Settings, endpoints: Endpoints) -> None:
        self.settings = settings
        self.endpoints = endpoints
        self._closing = ExitStack()
        self.maintained_at: dict[tuple[str, str], float] = {}
        """Tenant and task of `pipelines.maintenance` → when this process last ran it, in seconds of the monotonic clock."""
        self._sessions: dict[str, tuple[Tenant, Session]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._closing.close()

    @property
    def owner_url(self) -> str:
        """The owner role's URL, password included: for migrations and for tenants that come and go."""
        return self.endpoints.postgres_owner.get_secret_value()

    @property
    def master_key(self) -> bytes:
        """The configured master key, 32 bytes."""
        return master_key_bytes(self.endpoints.master_key)

    @cached_property
    def database(self) -> Database:
        return self._closing.enter_context(Database(self.endpoints.postgres_pipeline.get_secret_value()))

    @cached_property
    def readers(self) -> Database:
        """Connections as the reader role: it can only select, and only what a search needs."""
        return self._closing.enter_context(Database(self.endpoints.postgres_reader.get_secret_value(), role="reader"))

    @cached_property
    def models(self) -> Models:
        from pipelines.models import Models

        return self._closing.enter_context(Models(self.settings, self.endpoints))

    @cached_property
    def reader(self) -> Reader:
        from events.kafka.reader import Reader

        return self._closing.enter_context(Reader(self.endpoints.kafka_client()))

    @cached_property
    def topics(self) -> Topics:
        from events.kafka.topics import Topics

        return Topics(self.endpoints.kafka_client())

    @cached_property
    def outbox(self) -> Outbox:
        from pipelines.outbox import Outbox

        return Outbox(self.endpoints)

    def tenants(self) -> list[Tenant]:
        """Every active tenant, by name."""
        return self.database.tenants()

    def session(self, tenant: str) -> Session:
        """What a stage needs to work for this tenant. Raises TenantError if there is none of that name.

        Reads the tenant's row each time: it may be configured, or removed and made again with another key, while this process runs.
        """
        now = self.database.get(tenant)
        known = self._sessions.get(tenant)
        if known is None or known[0] != now:
            keys = self.keys(now)
            policy = self.settings.policy(sealed_settings.opened(now.configuration, lambda: keys))
            known = self._sessions[tenant] = now, Session(tenant, self.database, keys, policy)
        return known[1]

    def keys(self, tenant: Tenant) -> TenantKeys:
        """The keys that a row of the control plane has wrapped. Raises CannotDecrypt if the master key is another one."""
        from privacy import tenant_keys

        return tenant_keys(self.master_key, tenant.tenant, tenant.wrapped_key, tenant.surrogates)
