"""Index: the swap. A document's new chunks become searchable and its old ones go, in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from core import outcomes
from core.frames import Result
from core.ledger.ledger import Stale, Step
from core.ledger.stage import Session, Stage
from core.records import Chunk, Redacted, decode, document_context, encode
from core.tenancy import Connection
from pipelines.stages import inputs

if TYPE_CHECKING:
    from embedders.stage import Embedder


@dataclass(frozen=True)
class Index(Stage):
    """Reads the redacted document, its chunks and its access list; leaves `chunk`, `chunk_source` and `indexed`.

    A landing narrows access at once, so the swap has to run again even if nothing else changed: it does not revalidate.
    """

    step: Step
    embedder: Embedder
    revalidates: bool = False
    alike: Counter[str] = field(default_factory=Counter)
    """Of this run's near-duplicates."""

    def compute(self, session: Session, rows: Sequence[Stale], tally: Counter[str]) -> Sequence[Result]:
        redacted, packed = inputs.load_all(session, rows, "redact", "chunk")
        chunks = inputs.chunks(packed)
        results = []
        for row in (row for row in rows if row.document in redacted and row.document in chunks):
            document, passages = decode(redacted[row.document], Redacted), chunks[row.document]
            tally.update(chunks=len(passages), empty=int(not passages))
            results.append(version_of(row, document, passages))
        return results

    def store(self, connection: Connection, session: Session, payloads: Mapping[str, bytes]) -> Sequence[str]:
        from index import generations, swap

        if not payloads:
            # only deletes: they apply to every generation, so none has to be open
            return ()
        embedder, epoch = self.embedder, session.keys.epoch
        generation = generations.open_generation(connection, self.step.fingerprint, embedder.model, embedder.dimension, epoch)
        versions = {document: decode(payload, tuple[str, swap.Version])[1] for document, payload in payloads.items()}
        lacking = swap.swap(connection, generation, embedder.identity, versions, session.policy.near_duplicates, self.alike)
        outcomes.indexed(connection, versions)
        return lacking

    def remove(self, connection: Connection, session: Session, documents: Sequence[str]) -> Sequence[str]:  # noqa: ARG002
        from index import swap

        swap.remove(connection, documents)
        outcomes.decide(connection, documents, "deleted")
        return ()

    def about(self, tally: Mapping[str, int]) -> Mapping[str, str]:  # noqa: ARG002
        return {f"near_duplicates/{name}": str(count) for name, count in sorted(self.alike.items())}


def version_of(row: Stale, document: Redacted, chunks: tuple[Chunk, ...]) -> Result:
    """A document's version to swap in."""
    from index import swap
    from parsers.formats import usual_media_type

    version = swap.Version(
        document.name,
        document.title,
        document.uri,
        row.acl,
        chunks,
        language=document.language,
        context=document_context(document.title, document.name),
        source=document.source,
        media_type=usual_media_type(document.format),
        metadata=document.metadata,
    )
    return Result(row.document, encode((row.input_key, version)))
