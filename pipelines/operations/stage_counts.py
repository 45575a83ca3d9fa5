"""Counts of a tenant's documents that are done, failed, waiting or behind at a stage, from the ledger, and reason codes."""

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
    """`documents` by state, and the failed or waiting ones by reason.

    States: `done`, `failed`, `waiting`, `behind`, `blocked` (an earlier stage failed or waits); at landing `live` and `tombstones`.
    """

    documents: Mapping[str, int]
    reasons: Mapping[str, int]


def stage_counts(resources: Resources, tenant: str, stage: str) -> StageCounts:
    """The tenant's counts at one stage now; `land` is a stage here."""
    counts, reasons = ("landed", "refused") if stage == "land" else ("counts", "reasons")
    with resources.session(tenant).transaction() as connection:
        documents = _rows(connection, counts, stage=stage)[0]
        return StageCounts(documents, {row["reason"]: row["documents"] for row in _rows(connection, reasons, stage=stage)})


def due(resources: Resources, tenant: str) -> int:
    """The number of documents that a run would process without new events: an interrupted run left them, or they wait and are due.

    One more if outcomes are to be published.
    """
    with resources.session(tenant).transaction() as connection:
        return int(_rows(connection, "due", last=NAMES[-1])[0]["documents"])


def _rows(connection: Connection, name: str, **values: Any) -> list[dict[str, Any]]:
    return connection.execute(_SQL[name], values).fetchall()


_SQL = statements("pipelines.operations", "sql/stage_counts.sql")
