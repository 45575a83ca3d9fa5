"""Parse: inline or fetched content becomes blocks, in a confined worker process. Documents inside the document become its children."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core import artifacts, frames
from core.config import Fetching
from core.frames import Result
from core.ledger.ledger import Stale, Step
from core.ledger.stage import Session, Stage
from core.policy import Reading
from core.tenancy import Connection
from pipelines.models import Models
from pipelines.stages import acceptance, content, inputs


@dataclass(frozen=True)
class Parse(Stage):
    """Reads sealed content and leaves sealed `core.records.Content`."""

    step: Step
    models: Models
    reading: Reading
    fetching: Fetching
    batch: int = 16

    def compute(self, session: Session, rows: Sequence[Stale], tally: Counter[str]) -> Sequence[Result]:
        import parsers
        from quality.legibility import counted

        fetched, failures = content.fetched(session, rows, self.fetching)
        tally["bytes"] += int(fetched["content"].bin.size().sum())
        parsed = parsers.parse(fetched, self.models.parsers, self.reading)
        signals = acceptance.signals(parsed)
        tally.update(counted(list(signals.values())), empty=sum(not one.characters for one in signals.values()))
        refused = acceptance.quarantined(signals, self.reading, {row.document for row in rows if row.released})
        refused |= acceptance.nested_too_deep({row.document: inputs.envelope(session, row).name for row in rows}, parsed)
        return [*(result for result in frames.results(parsed) if result.document not in refused), *failures, *inputs.failures(refused)]

    def store(self, connection: Connection, session: Session, payloads: Mapping[str, bytes]) -> Sequence[str]:
        from events import children

        parted = {document: acceptance.without_children(payload) for document, payload in payloads.items()}
        artifacts.put(connection, session.keys, "parse", {document: payload for document, (payload, _) in parted.items()})
        children.replace(connection, session.keys, {document: found for document, (_, found) in parted.items()})
        return ()

    def remove(self, connection: Connection, session: Session, documents: Sequence[str]) -> Sequence[str]:  # noqa: ARG002
        from events import children

        children.delete(connection, documents)
        artifacts.discard(connection, ["land", "parse"], documents)
        return ()
