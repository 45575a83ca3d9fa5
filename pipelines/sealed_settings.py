"""The lists of personal values in a tenant's configuration, `privacy.allow` and `privacy.deny`: sealed at rest under the tenant's key.

Here they are sealed when a configuration is written and opened where a policy is made of it. What the lists do is `privacy`'s.
A list in clear is one that was written before lists were sealed; it works, and `seal_all` ends it.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from core.keys import TenantKeys
from core.tenancy import Tenant

if TYPE_CHECKING:
    from pipelines.app import Headrace

LISTS = ("allow", "deny")

Keys = Callable[[], TenantKeys]
Configuration = Mapping[str, Any]


def sealed(configuration: Configuration, keys: Keys) -> Configuration:
    """The configuration with each list that is in clear sealed. `keys` is asked only where there is one."""
    return _each(configuration, lambda name, value: _seal(keys(), name, value) if isinstance(value, list) and value else value)


def opened(configuration: Configuration, keys: Keys) -> Configuration:
    """The configuration with its lists in clear, for memory only. Raises CannotDecrypt; `keys` is asked only where there is one sealed."""
    return _each(configuration, lambda name, value: _open(keys(), name, value) if _is_sealed(value) else value)


def counted(configuration: Configuration) -> Configuration:
    """The configuration as people may see it: of each list how many values it has."""
    return _each(configuration, lambda _, value: f"{value['values'] if _is_sealed(value) else len(value)} values")


def seal_all(headrace: Headrace) -> list[str]:
    """Seal what was written in clear by an earlier version, as the owner role. Gives the tenants that had any."""
    return [tenant.tenant for tenant in headrace.tenants() if _seal_one(headrace, tenant)]


def _seal_one(headrace: Headrace, tenant: Tenant) -> bool:
    from core.schema.migrate import reconfigure_tenant

    def change(configuration: Configuration) -> Configuration:
        return sealed(configuration, lambda: headrace.keys(tenant))

    if change(tenant.configuration) == tenant.configuration:
        return False
    reconfigure_tenant(headrace.endpoints.postgres_owner.get_secret_value(), tenant.tenant, change)
    return True


def _each(configuration: Configuration, change: Callable[[str, Any], Any]) -> Configuration:
    privacy = configuration.get("privacy")
    if not isinstance(privacy, dict) or not any(name in privacy for name in LISTS):
        return configuration
    return {**configuration, "privacy": {name: change(name, value) if name in LISTS else value for name, value in privacy.items()}}


def _is_sealed(value: Any) -> bool:
    return isinstance(value, dict) and "sealed" in value


def _seal(keys: TenantKeys, name: str, values: list[Any]) -> dict[str, Any]:
    packed = keys.seal(msgspec.json.encode(values), f"configuration/{name}")
    return {"sealed": b64encode(packed).decode(), "values": len(values)}


def _open(keys: TenantKeys, name: str, value: Mapping[str, Any]) -> list[Any]:
    values: list[Any] = msgspec.json.decode(keys.open(b64decode(value["sealed"]), f"configuration/{name}"))
    return values
