"""Sections, from the chunks' heading paths."""

from __future__ import annotations

from collections.abc import Sequence

from core.records import Chunk, Redacted, Section
from graph.extractors.extractor import Findings
from graph.keys import shortened


class Sections:
    """One section per heading path, each after its ancestors, in reading order; equal paths are one section."""

    name = "sections"
    fingerprint = "1"

    def extract(self, document: Redacted, chunks: Sequence[Chunk]) -> Findings:  # noqa: ARG002
        ordinals: dict[tuple[str, ...], list[int]] = {}
        for chunk in chunks:
            path = tuple(shortened(heading) for heading in chunk.heading_path)
            for depth in range(1, len(path) + 1):
                ordinals.setdefault(path[:depth], [])
            if path:
                ordinals[path].append(chunk.ordinal)
        return Findings(sections=tuple(Section(path, tuple(under)) for path, under in ordinals.items()))
