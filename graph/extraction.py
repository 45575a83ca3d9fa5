"""Extraction: the extractors' findings in a document, merged into its contribution to the graph.

Pure: the same input results in the same bytes, whatever the order of the extractors. How things are found is in `graph.extractors`; nothing
here knows Neo4j.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from core import frames
from core.records import Chunk, Contribution, Entity, Mention, Redacted, Relation, Section, decode, encode
from graph import canonical
from graph.extractors.extractor import Extractor, Findings, Occurrence
from graph.keys import DOCUMENT, bounded, document_key, kind_and_name, plain_key, shortened

VERSION = 3
"""The revision of the merge. Raise it if the same findings give another contribution."""


def fingerprint(extractors: Sequence[Extractor]) -> str:
    """32 hex characters that change whenever `extract` could return another result for the same input.

    The order of the extractors does not matter. Raises ValueError as `extract` does.
    """
    parts = [(extractor.name, extractor.fingerprint) for extractor in _ordered(extractors)]
    return hashlib.sha256(encode(("graph.extract", VERSION, canonical.REVISION, parts))).hexdigest()[:32]


def extract(frame: pl.DataFrame, extractors: Sequence[Extractor]) -> pl.DataFrame:
    """Turn a CHUNKED frame into a RESULT frame whose payload is a `core.records.Contribution`.

    The order of the extractors does not matter. Raises ValueError if two have the same name.
    """
    ordered = _ordered(extractors)
    return frames.apply(frame, lambda row: encode(_contribution(row, ordered)))


def _ordered(extractors: Iterable[Extractor]) -> list[Extractor]:
    ordered = sorted(extractors, key=lambda extractor: extractor.name)
    names = [extractor.name for extractor in ordered]
    if len(set(names)) < len(names):
        raise ValueError(f"extractors must have distinct names, were: {', '.join(names)}")
    return ordered


def _contribution(row: Mapping[str, Any], extractors: Iterable[Extractor]) -> Contribution:
    document = decode(row["redacted"], Redacted)
    chunks = sorted(decode(row["chunks"], tuple[Chunk, ...]), key=lambda chunk: chunk.ordinal)
    return _merged(document, [extractor.extract(document, chunks) for extractor in extractors])


def _merged(document: Redacted, findings: Sequence[Findings]) -> Contribution:
    occurrences = [occurrence for found in findings for occurrence in found.occurrences]
    relations = {relation for found in findings for relation in found.relations}
    key = document_key(document.name)
    return Contribution(
        name=document.name,
        title=shortened(document.title),
        sections=_sections(section for found in findings for section in found.sections),
        entities=_entities(occurrences, relations),
        mentions=_mentions(occurrences),
        relations=tuple(sorted(relations, key=lambda relation: (relation.source, relation.kind, relation.target))),
        key="" if key == plain_key(document.name) else key,
    )


def _sections(sections: Iterable[Section]) -> tuple[Section, ...]:
    """One section per path, where the path first appears."""
    ordinals: dict[tuple[str, ...], set[int]] = {}
    for section in sections:
        ordinals.setdefault(section.path, set()).update(section.ordinals)
    return tuple(Section(path, tuple(sorted(under))) for path, under in ordinals.items())


def _mentions(occurrences: Iterable[Occurrence]) -> tuple[Mention, ...]:
    counts = Counter((occurrence.ordinal, occurrence.key) for occurrence in occurrences)
    return tuple(Mention(key, ordinal, count) for (ordinal, key), count in sorted(counts.items()))


def _entities(occurrences: Iterable[Occurrence], relations: Iterable[Relation]) -> tuple[Entity, ...]:
    """Every entity that is mentioned or at an end of a relation, under its most frequent spelling. Documents' names are no entities."""
    spellings: dict[str, Counter[tuple[str, str]]] = {}
    for occurrence in occurrences:
        spellings.setdefault(occurrence.key, Counter())[occurrence.kind, occurrence.name] += 1
    for key in {end for relation in relations for end in (relation.source, relation.target) if not end.startswith(DOCUMENT)}:
        spellings.setdefault(key, Counter({kind_and_name(key): 1}))
    chosen = ((key, min(counts, key=lambda spelling: (-counts[spelling], spelling))) for key, counts in spellings.items())
    return tuple(Entity(key, kind, bounded(name)) for key, (kind, name) in sorted(chosen))
