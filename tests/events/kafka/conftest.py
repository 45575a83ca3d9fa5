"""What the tests of hostile records share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipelines.dagster.runtime import Runtime
from tests.events.kafka.accounting import accept_any_timestamp


@pytest.fixture
def open_tenant(app: Runtime, new_tenant: Callable[[], str]) -> str:
    """A tenant whose topic takes every timestamp."""
    name = new_tenant()
    accept_any_timestamp(app, name)
    return name
