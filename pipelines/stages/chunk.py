"""Chunk: a redacted document becomes passages along its structure, bounded in the embedding model's tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from core import frames, instructions
from core.frames import Result
from core.ledger.ledger import Stale, Step
from core.ledger.stage import Session, Stage
from core.records import Chunk, decode, encode
from pipelines.stages import inputs
from pipelines.stages.inputs import Chunked

if TYPE_CHECKING:
    from chunkers import Chunker


@dataclass(frozen=True)
class CutChunks(Stage):
    """Reads the redacted document; leaves `Chunked`."""

    step: Step
    chunker: Chunker

    def compute(self, session: Session, rows: Sequence[Stale], tally: Counter[str]) -> Sequence[Result]:
        import chunkers

        redacted = inputs.load(session, "redact", rows)
        frame, contexts = inputs.frame(frames.REDACTED, rows, {"redacted": redacted}), inputs.contexts(redacted)
        keys = {row.document: row.input_key for row in rows}
        cut = frames.results(chunkers.chunk(frame, self.chunker))
        return [_packed(result, keys[result.document], contexts[result.document], tally) for result in cut]


def _packed(result: Result, redacted_key: str, context: str, tally: Counter[str]) -> Result:
    if result.payload is None:
        return result
    chunks = decode(result.payload, tuple[Chunk, ...])
    tally["chunks"] += len(chunks)
    tally["tokens"] += sum(chunk.token_count for chunk in chunks)
    tally["like_instructions"] += sum(instructions.score(chunk.text) >= instructions.SUSPICIOUS for chunk in chunks)
    return replace(result, payload=encode(Chunked(redacted_key, chunks, context)))
