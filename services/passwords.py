"""The generated passwords and master key, stored in `secrets.json` in the data folder, mode 0600.

Values leave this module only as `SecretStr`.
"""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass

from pydantic import SecretStr

from core.errors import ConfigurationError
from services.files import PRIVATE_FILE, Layout, write_atomic

POSTGRES_ROLES = ("superuser", "owner", "pipeline", "reader", "dagster")
_GENERATED = (*(f"postgres_{role}" for role in POSTGRES_ROLES), "kafka_admin", "kafka_controller", "neo4j")


@dataclass(frozen=True)
class Secrets:
    """The secrets of this data folder's servers, by name. `repr` shows only the names."""

    values: dict[str, str]

    def __repr__(self) -> str:
        return f"Secrets({', '.join(sorted(self.values))})"

    def __getitem__(self, name: str) -> SecretStr:
        return SecretStr(self.values[name])

    def get(self, name: str) -> SecretStr | None:
        return self[name] if name in self.values else None


def read(layout: Layout) -> Secrets:
    """Return the stored secrets; empty if there is no file. Raises ConfigurationError if the file is damaged."""
    try:
        text = layout.secrets.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Secrets({})
    layout.secrets.chmod(PRIVATE_FILE)
    return Secrets(_parsed(text, layout))


def ensure(layout: Layout) -> Secrets:
    """Generate the secrets that are missing, keep the others, and return all. Call it with the data folder's lock held."""
    stored = read(layout).values
    missing = {name: generate() for name in _GENERATED if name not in stored}
    if "master_key" not in stored:
        missing["master_key"] = base64.b64encode(secrets.token_bytes(32)).decode()
    return add(layout, missing)


def add(layout: Layout, values: dict[str, str]) -> Secrets:
    """Store additional secrets and return all. Call it with the data folder's lock held."""
    merged = read(layout).values | values
    if values:
        write_atomic(layout.secrets, json.dumps(merged, indent=1, sort_keys=True) + "\n")
    return Secrets(merged)


def remove(layout: Layout, name: str) -> None:
    """Delete one secret, if it exists. Call it with the data folder's lock held."""
    kept = {key: value for key, value in read(layout).values.items() if key != name}
    write_atomic(layout.secrets, json.dumps(kept, indent=1, sort_keys=True) + "\n")


def generate() -> str:
    """Return a password of 64 hexadecimal digits (256 bits): it never needs quoting, and never looks like a command-line option."""
    return secrets.token_hex(32)


def _parsed(text: str, layout: Layout) -> dict[str, str]:
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise ConfigurationError(
            f"{layout.secrets}, which contains the servers' passwords, is damaged",
            remedy="Restore it from a backup, or delete everything with `headrace down --purge` and start again.",
        )
    return values
