"""Embed: vectors of the texts, and of what documents are called, that this tenant has not embedded under this model.

They are stored as they are computed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from core import frames
from core.errors import Unavailable
from core.frames import Result
from core.ledger.ledger import Stale, Step
from core.ledger.stage import Session, Stage
from core.records import Chunk, encode, text_hash
from core.tenancy import Connection
from pipelines.stages import inputs
from pipelines.stages.inputs import Failure

if TYPE_CHECKING:
    from embedders.stage import Embedder

EMBED_TEXTS = 1024
"""Texts that are embedded at a time and then stored: bounds memory, the cost of a crash, and the time between two reports of progress."""


Missing = tuple[Mapping[str, str], Mapping[str, str]]
"""Texts of chunks, and contexts of documents, that have no vector; by their hashes."""


@dataclass(frozen=True)
class Embed(Stage):
    """Reads the chunks; writes vectors to the table `embedding`.

    Its output key follows its input key: vectors are shared between documents, so none is one document's output.
    """

    step: Step
    embedder: Embedder

    def compute(self, session: Session, rows: Sequence[Stale], tally: Counter[str]) -> Sequence[Result]:
        with session.transaction() as connection:
            packed = inputs.chunked(inputs.read(connection, session, "chunk", rows))
            chunks = first({document: of_one.chunks for document, of_one in packed.items()}, rows, EMBED_TEXTS)
            contexts = {document: packed[document].context for document in chunks}
            missing = self.missing(connection, chunks, contexts)
        refused = self.refused(session, chunks, contexts, missing, tally)
        passed = [row for row in rows if row.document in chunks and row.document not in refused]
        return [*(Result(row.document, encode(row.input_key)) for row in passed), *inputs.failures(refused)]

    def missing(self, connection: Connection, chunks: Mapping[str, Sequence[Chunk]], contexts: Mapping[str, str]) -> Missing:
        """What has no vector yet of these documents. Raises as `index.generations.recognise` does."""
        from index import embeddings, generations

        generations.recognise(connection, self.embedder.model)
        texts = {chunk.text_hash: chunk.embedded_text for of_one in chunks.values() for chunk in of_one}
        named = {text_hash(context): context for context in contexts.values() if context}
        unknown = embeddings.unknown(connection, self.embedder.identity, list(texts))
        unnamed = embeddings.unknown(connection, self.embedder.identity, [one for one in named if one not in texts])
        return {one: texts[one] for one in unknown}, {one: named[one] for one in unnamed}

    def refused(
        self,
        session: Session,
        chunks: Mapping[str, Sequence[Chunk]],
        contexts: Mapping[str, str],
        missing: Missing,
        tally: Counter[str],
    ) -> dict[str, Failure]:
        """Store a vector of each text and context that is `missing`. Returns the documents that cannot be embedded, and why."""
        total, (unknown, unnamed) = sum(map(len, chunks.values())), missing
        tally.update(texts=total, cache_hits=total - len(unknown), contexts=len(unnamed))
        failed = self._embed_all(session, unknown, tally) | self._embed_all(session, unnamed, Counter())
        return {document: failure for document, of_one in chunks.items() if (failure := _worst(failed, of_one, contexts.get(document)))}

    def _embed_all(self, session: Session, texts: Mapping[str, str], tally: Counter[str]) -> dict[str, Failure]:
        """Store a vector of each text, by its hash. Returns the texts that failed, by hash."""
        failed: dict[str, Failure] = {}
        every = list(texts.items())
        for start in range(0, len(every), EMBED_TEXTS):
            failed |= self._embed_some(session, dict(every[start : start + EMBED_TEXTS]), tally)
        return failed

    def _embed_some(self, session: Session, texts: Mapping[str, str], tally: Counter[str]) -> dict[str, Failure]:
        from embedders.stage import embed
        from index import embeddings

        frame = pl.DataFrame({"text_hash": list(texts), "text": list(texts.values())}, schema=dict(frames.TEXTS))
        result = embed(frame, self.embedder, tally)
        passed = result.filter(pl.col("reason").is_null())
        with session.transaction() as connection:
            embeddings.keep(connection, self.embedder.identity, passed["text_hash"].to_list(), passed["embedding"].to_numpy())
        failed = result.filter(pl.col("reason").is_not_null()).select("text_hash", "reason", "detail")
        return {text_hash: (reason, detail) for text_hash, reason, detail in failed.iter_rows()}

    def store(self, connection: Connection, session: Session, payloads: Mapping[str, bytes]) -> Sequence[str]:  # noqa: ARG002
        return ()

    def remove(self, connection: Connection, session: Session, documents: Sequence[str]) -> Sequence[str]:  # noqa: ARG002
        return ()

    def about(self, tally: Mapping[str, int]) -> Mapping[str, str]:
        return self.embedder.about if tally.get("embedded") else {}


def first(chunks: Mapping[str, tuple[Chunk, ...]], rows: Sequence[Stale], texts: int) -> dict[str, tuple[Chunk, ...]]:
    """The first documents, at least one, with up to `texts` texts together. The others stay stale: the next batch has them."""
    taken: dict[str, tuple[Chunk, ...]] = {}
    for document in (row.document for row in rows if row.document in chunks):
        texts -= len(chunks[document])
        if taken and texts < 0:
            break
        taken[document] = chunks[document]
    return taken


def _worst(failed: Mapping[str, Failure], chunks: Sequence[Chunk], context: str | None) -> Failure | None:
    """Why a document with these chunks and this context cannot be indexed; a permanent failure rather than a temporary one."""
    hashes = [*(chunk.text_hash for chunk in chunks), *([text_hash(context)] if context else ())]
    return min((failed[one] for one in hashes if one in failed), key=lambda failure: failure[0] == Unavailable.reason, default=None)
