"""The interface of an extractor, and the record of what it finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from core.records import Chunk, Redacted, Relation, Section


class Occurrence(msgspec.Struct, frozen=True):
    """One occurrence of an entity in the text of the chunk with this ordinal.

    `key` identifies the entity (`graph.keys`), `kind` is upper case, `name` is the spelling in the text.
    """

    ordinal: int
    key: str
    kind: str
    name: str


class Findings(msgspec.Struct, frozen=True):
    """What one extractor finds in one document.

    Repeated occurrences are counted; repeated relations are one. Sections come in reading order, each after its ancestors. The entities
    at both ends of a relation need no occurrence.
    """

    sections: tuple[Section, ...] = ()
    occurrences: tuple[Occurrence, ...] = ()
    relations: tuple[Relation, ...] = ()


class Extractor(Protocol):
    """Finds one kind of thing in a document.

    Guarantees: `extract` is pure. It does no I/O but to load its own model, reads nothing but its arguments, and returns the same findings
    for the same arguments, whatever other documents or extractors there are. Threads may share an extractor.
    """

    @property
    def name(self) -> str:
        """Unique in a list of extractors, and stable: part of the stage's fingerprint."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes whenever `extract` could return other findings for the same arguments. Every document is extracted again then."""
        ...

    def extract(self, document: Redacted, chunks: Sequence[Chunk]) -> Findings:
        """The findings in a redacted document and its chunks, ordered by ordinal. Raises HeadraceError if the document cannot be read."""
        ...
