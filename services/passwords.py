"""The generated passwords and the generated master key: `secrets.json` in the data folder, mode 0600.

Nothing here logs in anywhere. A value leaves this module only as a `SecretStr`.
"""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass

from pydantic import SecretStr

from core.errors import ConfigurationError
from services.files import PRIVATE_FILE, Layout, write_whole

POSTGRES_ROLES = ("superuser", "owner", "pipeline", "reader", "dagster")
_GENERATED = (*(f"postgres_{role}" for role in POSTGRES_ROLES), "kafka_admin", "kafka_controller", "neo4j")


@dataclass(frozen=True)
class Secrets:
    """What this data folder's servers were given. `repr` shows names only."""

    values: dict[str, str]

    def __repr__(self) -> str:
        return f"Secrets({', '.join(sorted(self.values))})"

    def __getitem__(self, name: str) -> SecretStr:
        return SecretStr(self.values[name])

    def get(self, name: str) -> SecretStr | None:
        return self[name] if name in self.values else None


def read(layout: Layout) -> Secrets:
    """What was generated so far; nothing, where nothing was. Raises ConfigurationError where the file is not ours to read."""
    try:
        text = layout.secrets.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Secrets({})
    layout.secrets.chmod(PRIVATE_FILE)
    return Secrets(_parsed(text, layout))


def ensure(layout: Layout) -> Secrets:
    """Generate what is missing and keep what is there. Call under the data folder's lock."""
    known = read(layout).values
    missing = {name: _password() for name in _GENERATED if name not in known}
    if "master_key" not in known:
        missing["master_key"] = base64.b64encode(secrets.token_bytes(32)).decode()
    return add(layout, missing)


def add(layout: Layout, values: dict[str, str]) -> Secrets:
    """Keep more values. Call under the data folder's lock."""
    merged = read(layout).values | values
    if values:
        write_whole(layout.secrets, json.dumps(merged, indent=1, sort_keys=True) + "\n")
    return Secrets(merged)


def forget(layout: Layout, name: str) -> None:
    """Drop one value, if it is there. Call under the data folder's lock."""
    kept = {key: value for key, value in read(layout).values.items() if key != name}
    write_whole(layout.secrets, json.dumps(kept, indent=1, sort_keys=True) + "\n")


def generate() -> str:
    """A password that needs no quoting anywhere, nor looks like a program's option: 64 hexadecimal digits; 256 bits."""
    return _password()


def _password() -> str:
    return secrets.token_hex(32)


def _parsed(text: str, layout: Layout) -> dict[str, str]:
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise ConfigurationError(
            f"{layout.secrets} is damaged; the servers' passwords are in it",
            remedy="Restore it from a backup, or start afresh with `headrace down --purge`.",
        )
    return values
