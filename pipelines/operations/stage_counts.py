"""How many of a tenant's documents are done, failed, waiting or behind at a stage, by the ledger: counts and reason codes only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.sql import statements
from core.tenancy import Connection
from pipelines.resources import Resources
from pipelines.stages.registry import NAMES


@dataclass(frozen=True)
class StageCounts:
    """Documents by state, and why some are left out.

    States: `done`, `failed`, `waiting`, `behind`, `held_up` (an earlier stage failed or waits); at landing `live` and `tombstones`.
    """

    documents: Mapping[str, int]
    reasons: Mapping[str, int]


def stage_counts(resources: Resources, tenant: str, stage: str) -> StageCounts:
    """The tenant's counts at one stage as of now; `land` is one."""
    counts, reasons = ("landed", "refused") if stage == "land" else ("counts", "left_out")
    with resources.session(tenant).transaction() as connection:
        documents = _rows(connection, counts, stage=stage)[0]
        return StageCounts(documents, {row["reason"]: row["documents"] for row in _rows(connection, reasons, stage=stage)})


def due(resources: Resources, tenant: str) -> int:
    """Documents that a run would move although nothing new was published: an interrupted run left them, or they wait and are due.

    One more if outcomes are left to publish.
    """
    with resources.session(tenant).transaction() as connection:
        return int(_rows(connection, "due", last=NAMES[-1])[0]["documents"])


def _rows(connection: Connection, name: str, **values: Any) -> list[dict[str, Any]]:
    return connection.execute(_SQL[name], values).fetchall()


_SQL = statements("pipelines.operations", "sql/stage_counts.sql")
