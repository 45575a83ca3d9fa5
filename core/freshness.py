"""A tenant's freshness target: how old its oldest event that is not searchable may be. Whether it is met is measured elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.errors import ConfigurationError

FRESHNESS = "freshness_seconds"
"""The key of the target in a tenant's configuration."""

DEFAULT_TARGET_S = 300.0
LONGEST_TARGET_S = 30 * 24 * 60 * 60.0


def target_s(configuration: Mapping[str, Any]) -> float:
    """A tenant's target in seconds. Raises ConfigurationError if its configuration holds anything but a number of seconds."""
    return valid_target(configuration.get(FRESHNESS, DEFAULT_TARGET_S))


def valid_target(value: Any) -> float:
    """The value itself. Raises ConfigurationError (`bad-freshness`) unless it is a number of seconds above 0 and up to 30 days."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LONGEST_TARGET_S:
        raise ConfigurationError(
            f"a freshness target is a number of seconds above 0, up to {LONGEST_TARGET_S:,.0f}, was: {value!r}", reason="bad-freshness"
        )
    return float(value)
