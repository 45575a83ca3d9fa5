"""Graph: what a document contributes to the knowledge graph, as one versioned record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from core import frames
from core.frames import Result
from core.ledger.ledger import Stale, Step
from core.ledger.stage import Session, Stage
from core.records import Contribution, decode, encode
from core.tenancy import Connection
from pipelines.stages import inputs
from pipelines.stages.inputs import Versioned

if TYPE_CHECKING:
    from graph import Extractor


@dataclass(frozen=True)
class Extract(Stage):
    """Reads the redacted document and its chunks; leaves `Versioned`, which the stage `project` writes to Neo4j."""

    step: Step
    extractors: Sequence[Extractor]

    def compute(self, session: Session, rows: Sequence[Stale], tally: Counter[str]) -> Sequence[Result]:
        import graph

        redacted, packed = inputs.load_all(session, rows, "redact", "chunk")
        chunks = inputs.chunks(packed)
        columns = {"redacted": redacted, "chunks": {document: encode(of_one) for document, of_one in chunks.items()}}
        extracted = graph.extract(inputs.frame(frames.CHUNKED, rows, columns), self.extractors)
        ids = {document: tuple(chunk.text_hash for chunk in of_one) for document, of_one in chunks.items()}
        return [_packed(result, ids, tally) for result in frames.results(extracted)]

    def store(self, connection: Connection, session: Session, payloads: Mapping[str, bytes]) -> Sequence[str]:
        inputs.put_versions(connection, session, {d: decode(payload, Versioned) for d, payload in payloads.items()})
        return ()

    def remove(self, connection: Connection, session: Session, documents: Sequence[str]) -> Sequence[str]:
        inputs.put_versions(connection, session, dict.fromkeys(documents, Versioned()))
        return ()


def _packed(result: Result, chunk_ids: Mapping[str, tuple[str, ...]], tally: Counter[str]) -> Result:
    if result.payload is None:
        return result
    contribution = decode(result.payload, Contribution)
    tally.update(entities=len(contribution.entities), mentions=len(contribution.mentions), relations=len(contribution.relations))
    return replace(result, payload=encode(Versioned(contribution=contribution, chunks=chunk_ids[result.document])))
