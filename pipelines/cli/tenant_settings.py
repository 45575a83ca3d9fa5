"""`SECTION.KEY=VALUE`, as people type a tenant's settings, and the names of settings for the audit log."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from core.errors import PolicyError
from core.freshness import FRESHNESS

LEGAL_HOLD = "retention.legal_hold"


def parse(overrides: Sequence[str], freshness: float | None, before: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """The changed sections of a tenant's configuration, complete with the keys that they had `before`. A value may be JSON.

    Raises PolicyError.
    """
    changed: dict[str, Any] = {} if freshness is None else {FRESHNESS: freshness}
    for override in overrides:
        name, equals, value = override.partition("=")
        section, _, key = name.partition(".")
        if not (key and equals):
            raise PolicyError(f"a setting is SECTION.KEY=VALUE, was: {override!r:.200}")
        changed[section] = {**before.get(section, {}), **changed.get(section, {}), key: _value(value)}
    return changed


def names(configuration: Mapping[str, Any]) -> list[str]:
    """The names of the settings, without their values."""
    return [name for name, _ in _items(configuration)]


def changed(changes: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """The names of those settings whose values differ."""
    present = dict(_items(before))
    return [name for name, value in _items(changes) if present.get(name) != value]


def _items(configuration: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for section, keys in sorted(configuration.items()):
        yield from ((f"{section}.{key}", value) for key, value in sorted(keys.items())) if isinstance(keys, dict) else [(section, keys)]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
