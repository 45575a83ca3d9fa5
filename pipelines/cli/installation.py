"""The installation that a command works on: the configuration in force, and servers that run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.app import Headrace


@contextmanager
def opened() -> Iterator[Headrace]:
    """Headrace with the configuration in force. Raises ConfigurationError, and Unavailable if the servers do not run."""
    import services
    from core.config import load
    from pipelines.app import Headrace

    settings = load()
    with Headrace(settings, services.endpoints(settings)) as headrace:
        yield headrace
