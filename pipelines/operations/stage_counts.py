"""Where a tenant's documents stand, counted by the ledger: what a materialization tells beside its own run, and what a sensor asks.

Counts and reason codes only. A single document's story is in `pipelines.operations.explain`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.sql import statements
from core.tenancy import Connection
from pipelines.app import Headrace
from pipelines.stages.registry import NAMES


@dataclass(frozen=True)
class Standing:
    """Documents by state, and why some are left out.

    States: `done`, `failed`, `waiting`, `behind`, `held_up` (an earlier stage failed or waits); at landing `live` and `tombstones`.
    """

    documents: Mapping[str, int]
    reasons: Mapping[str, int]


def standing(headrace: Headrace, tenant: str, stage: str) -> Standing:
    """How the tenant stands at one stage as of now; `land` is one."""
    counts, reasons = ("landed", "refused") if stage == "land" else ("standing", "left_out")
    with headrace.session(tenant).transaction() as connection:
        documents = _rows(connection, counts, stage=stage)[0]
        return Standing(documents, {row["reason"]: row["documents"] for row in _rows(connection, reasons, stage=stage)})


def due(headrace: Headrace, tenant: str) -> int:
    """Documents that a run would move although nothing new was published: left over by a run that was cut off, or waiting and due.

    One more where outcomes are left to publish.
    """
    with headrace.session(tenant).transaction() as connection:
        return int(_rows(connection, "due", last=NAMES[-1])[0]["documents"])


def _rows(connection: Connection, name: str, **values: Any) -> list[dict[str, Any]]:
    return connection.execute(statements("pipelines.operations", "sql/stage_counts.sql")[name], values).fetchall()
