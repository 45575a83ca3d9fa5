"""Project: a document's contribution is written to Neo4j, idempotently and fenced by its version."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core import artifacts, crashpoints
from core.frames import Result
from core.ledger.ledger import Stale, Step
from core.ledger.stage import Session, Stage
from core.records import decode, encode
from core.tenancy import Connection
from pipelines.models import Models
from pipelines.stages import inputs
from pipelines.stages.inputs import Versioned

WRITTEN = "project:written"
"""A crash point: Neo4j has the contribution, and Postgres does not know it yet."""


@dataclass(frozen=True)
class Project(Stage):
    """Reads `Versioned`; leaves nodes and edges in Neo4j, and nothing in Postgres but the record."""

    step: Step
    models: Models

    def compute(self, session: Session, rows: Sequence[Stale], tally: Counter[str]) -> Sequence[Result]:
        # open while Neo4j writes: removing the tenant waits for it, and clears the graph after that
        with session.transaction() as connection:
            versions = _versions(inputs.read(connection, session, "graph", rows))
            return self._write(session.tenant, {document: version for document, version in versions.items() if version.contribution}, tally)

    def _write(self, tenant: str, versions: Mapping[str, Versioned], tally: Counter[str]) -> list[Result]:
        import graph

        projected = [
            graph.Projected(document, version.version, version.contribution, version.chunks)
            for document, version in versions.items()
            if version.contribution
        ]
        self.models.projection.project(tenant, projected)
        crashpoints.reached(WRITTEN)
        tally["projected"] += len(projected)
        return [Result(document, encode(version.version)) for document, version in versions.items()]

    def store(self, connection: Connection, session: Session, payloads: Mapping[str, bytes]) -> Sequence[str]:  # noqa: ARG002
        return ()

    def remove(self, connection: Connection, session: Session, documents: Sequence[str]) -> Sequence[str]:
        """Documents whose contribution is still there stay stale: their delete has not passed the stage `graph` yet."""
        versions = _versions(artifacts.get(connection, session.keys, "graph", documents))
        gone = {document: version.version for document, version in versions.items() if not version.contribution}
        self.models.projection.remove(session.tenant, list(gone.items()))
        return [document for document in documents if document not in gone]


def _versions(payloads: Mapping[str, bytes]) -> dict[str, Versioned]:
    return {document: decode(payload, Versioned) for document, payload in payloads.items()}
