"""Hidden values: the surrogates that redaction wrote in place of personal data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from core.records import Chunk, Redacted, Relation
from core.surrogates import SURROGATE
from graph.extractors.extractor import Findings, Occurrence
from graph.keys import document_key, entity_key


class Surrogates:
    """Mentions of surrogates in the chunks' text, and NAMES relations to those outside of it."""

    name = "surrogates"
    fingerprint = "2"

    def extract(self, document: Redacted, chunks: Sequence[Chunk]) -> Findings:
        source = document_key(document.name)
        outside = sorted({key for text in _beyond_chunk_text(document, chunks) for key, _, _ in _surrogates(text)})
        return Findings(
            occurrences=tuple(Occurrence(chunk.ordinal, *found) for chunk in chunks for found in _surrogates(chunk.text)),
            relations=tuple(Relation(source, "NAMES", key) for key in outside),
        )


def _surrogates(text: str) -> Iterator[tuple[str, str, str]]:
    """(key, kind, surrogate) of each."""
    for match in SURROGATE.finditer(text):
        yield entity_key(match[1], match[2]), match[1], match[0]


def _beyond_chunk_text(document: Redacted, chunks: Sequence[Chunk]) -> Iterator[str]:
    """Title, name, address, metadata, link targets and headings."""
    yield from (document.title, document.name, document.uri, *document.metadata.values())
    yield from (link.target for block in document.blocks for link in block.links)
    yield from (heading for chunk in chunks for heading in chunk.heading_path)
