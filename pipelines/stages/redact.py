"""Redact: personal data in every text of a document is replaced by keyed surrogates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core import frames
from core.frames import Result
from core.ledger.ledger import Stale, Step
from core.ledger.stage import Session, Stage
from core.records import Redacted, decode, encode
from pipelines.stages import expired, inputs

if TYPE_CHECKING:
    from privacy import Redactor


@dataclass(frozen=True)
class Redact(Stage):
    """Reads the envelope and the parsed content; leaves `core.records.Redacted`."""

    step: Step
    redactor: Redactor

    def compute(self, session: Session, rows: Sequence[Stale], tally: Counter[str]) -> Sequence[Result]:
        import privacy

        contents = inputs.load(session, "parse", rows)
        tally.update(expired.parse_again(session, [row.document for row in rows if row.document not in contents]))
        columns = {"envelope": {row.document: encode(inputs.envelope(session, row)) for row in rows}, "content": contents}
        released = {row.document for row in rows if row.released}
        redacted = privacy.redact(inputs.frame(frames.PARSED, rows, columns), self.redactor, session.keys, released)
        for payload in redacted["payload"].drop_nulls():
            tally.update(decode(payload, Redacted).found)
        return frames.results(redacted)
