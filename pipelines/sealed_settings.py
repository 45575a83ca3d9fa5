"""The lists of personal values in a tenant's configuration, `privacy.allow` and `privacy.deny`: sealed at rest under the tenant's key.

They are sealed when a configuration is written, and opened when a policy is built from it. What the lists do is in `privacy`.
A list in clear comes from an earlier version; it works, and `pipelines.governance.tenants.seal_all` seals it.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from core.keys import TenantKeys

LISTS = ("allow", "deny")

Keys = Callable[[], TenantKeys]
Configuration = Mapping[str, Any]


def sealed(configuration: Configuration, keys: Keys) -> Configuration:
    """The configuration with its lists sealed. `keys` is called only if a list is in clear."""
    return _each(configuration, lambda name, value: _seal(keys(), name, value) if isinstance(value, list) and value else value)


def opened(configuration: Configuration, keys: Keys) -> Configuration:
    """The configuration with its lists in clear, for memory only. `keys` is called only if a list is sealed. Raises CannotDecrypt."""
    return _each(configuration, lambda name, value: _open(keys(), name, value) if _is_sealed(value) else value)


def counted(configuration: Configuration) -> Configuration:
    """The configuration as people may see it: each list is replaced by its number of values."""
    return _each(configuration, lambda _, value: f"{value['values'] if _is_sealed(value) else len(value)} values")


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
