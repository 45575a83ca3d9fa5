"""Rebuild: the shadow of chunk, embed and index, with other settings, for the generation beside the active one (`headrace reindex`).

It is a stage of the ledger as the others are, but not one that a document passes on its way: maintenance runs it. So both generations
receive every change, each by its own stages, and one that is cut off goes on where it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core import frames
from core.frames import Result
from core.ledger.ledger import Stale, Step
from core.ledger.stage import Session, Stage
from core.policy import Policy
from core.records import Chunk, Redacted, decode
from core.swap_lock import lock_swaps
from core.tenancy import Connection
from pipelines.resources import Resources
from pipelines.stages import beside, embed, index, inputs, registry

if TYPE_CHECKING:
    from chunkers import Chunker
    from embedders.stage import Embedder

NAME = "reindex"
"""The stage's name in the ledger. What asks the ledger about documents on their way leaves it out."""


@dataclass(frozen=True)
class Rebuild(Stage):
    """Reads the redacted document and its access list; leaves `chunk`, `chunk_source` and `indexed` of the other generation.

    As the index stage, it does not revalidate: a landing narrows access at once.
    """

    step: Step
    chunker: Chunker
    embedder: Embedder
    batch: int = 32
    revalidates: bool = False
    decides: bool = False

    def compute(self, session: Session, rows: Sequence[Stale], tally: Counter[str]) -> Sequence[Result]:
        redacted = inputs.load(session, "redact", rows)
        cut = self._cut(rows, redacted)
        whole = {result.document: decode(result.payload, tuple[Chunk, ...]) for result in cut if result.payload is not None}
        chunks = embed.first(whole, rows, embed.EMBED_TEXTS)
        refused = self._refused(session, chunks, {row.document: redacted[row.document] for row in rows if row.document in chunks}, tally)
        passed = [row for row in rows if row.document in chunks and row.document not in refused]
        tally["chunks"] += sum(len(chunks[row.document]) for row in passed)
        versions = (index.version_of(row, decode(redacted[row.document], Redacted), chunks[row.document]) for row in passed)
        return [*versions, *(result for result in cut if result.payload is None), *inputs.failures(refused)]

    def _cut(self, rows: Sequence[Stale], redacted: Mapping[str, bytes]) -> list[Result]:
        import chunkers

        frame = inputs.frame(frames.REDACTED, rows, {"redacted": redacted})
        return list(frames.results(chunkers.chunk(frame, self.chunker)))

    def _refused(
        self, session: Session, chunks: Mapping[str, Sequence[Chunk]], redacted: Mapping[str, bytes], tally: Counter[str]
    ) -> dict[str, inputs.Failure]:
        stage, contexts = embed.Embed(self.step, self.embedder), inputs.contexts(redacted)
        with session.transaction() as connection:
            missing = stage.missing(connection, chunks, contexts)
        return stage.refused(session, chunks, contexts, missing, tally)

    def store(self, connection: Connection, session: Session, payloads: Mapping[str, bytes]) -> Sequence[str]:
        from index import generations, swap

        lock_swaps(connection)
        if not beside.is_wanted(connection, self.step.fingerprint):
            # given up, or switched to, since this batch began: nothing may be written to it in this stage's name
            return list(payloads)
        epoch = session.keys.epoch
        generation = generations.open_generation(connection, self.step.fingerprint, self.embedder.model, self.embedder.dimension, epoch)
        versions = {document: decode(payload, tuple[str, swap.Version])[1] for document, payload in payloads.items()}
        return swap.swap(connection, generation, self.embedder.identity, versions, session.policy.near_duplicates)

    def remove(self, connection: Connection, session: Session, documents: Sequence[str]) -> Sequence[str]:  # noqa: ARG002
        # the index stage removes a deleted document from every generation
        return ()


def build(resources: Resources, session: Session, policy: Policy) -> Rebuild:
    """The stage for a generation with this policy's chunking and embedding. Raises as `registry.step` does."""
    models, fingerprint = resources.models, fingerprint_of(resources, session, policy)
    step = Step(NAME, "redact", "acl", fingerprint, session.keys.epoch)
    return Rebuild(step, models.chunker(policy), models.embedder_of(policy.embedding))


def fingerprint_of(resources: Resources, session: Session, policy: Policy) -> str:
    """The fingerprint of the index stage with this policy, which is that of its generation. Raises as `registry.step` does."""
    return registry.step("index", resources, policy, session.keys.epoch).fingerprint
