"""What assets ask of Headrace. `pipelines.app.Headrace` is one; assets know no more of it than this."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import dagster as dg

from core.stage import Report

TENANTS = dg.DynamicPartitionsDefinition(name="tenants")

RESOURCE = "headrace"


class Landed(Protocol):
    events: int
    fates: Any
    reasons: Any


class Checked(Protocol):
    """A quality check's outcome, as `quality.Check` is."""

    name: str
    passed: bool
    severity: str
    measured: dict[str, Any]
    explanation: str

    def markdown(self) -> str: ...


class Runtime(Protocol):
    """Headrace, as the assets see it."""

    def land(self, tenant: str, progress: Callable[[Any], None] = ...) -> Landed: ...

    def run(self, tenant: str, stage: str, progress: Callable[[Report], None] = ...) -> Report: ...

    def check(self, tenant: str, name: str) -> Checked: ...
