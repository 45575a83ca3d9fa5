"""Extraction: what a redacted document contributes to the graph. Pure; the same input gives the same bytes.

Sections come from the chunks' heading paths, relations from links and from what the document is known as, entities from surrogates,
references by number (`RFC 822`) and, with a names model, from names. Nothing here knows Neo4j.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import polars as pl

from core import frames
from core.records import Chunk, Contribution, Entity, Mention, Redacted, Relation, Section, decode, encode
from graph.finder import SURROGATE, EntityFinder
from graph.keys import bounded, document_key, entity_key, kind_and_name, link_key, reference_key, shortened, url_key

VERSION = 1

_REFERENCE = re.compile(r"(?<![\w.-])([A-Z]{2,6})[\s-]([0-9]{1,5})(?!\w|[.,][0-9])")
_REFERENCE_NAME = re.compile(r"([A-Za-z]{2,6})[-_ ]?([0-9]{1,5})")
# series that count, measure or encode, and so refer to no document
_ENCODINGS = {"UTF", "UCS", "SHA", "MD", "AES", "RSA", "BASE", "CRC", "COVID"}
_TIMES = {"UTC", "GMT", "BC", "AD", "AM", "PM", "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}
_PLACES = {"PAGE", "FIG", "TABLE", "NOTE", "STEP", "LINE", "PART", "TOP"}
_CURRENCIES = {"USD", "EUR", "GBP", "CHF", "JPY", "CNY", "INR", "AUD", "CAD", "SEK", "NOK", "DKK", "PLN"}
_NO_SERIES = frozenset(_ENCODINGS | _TIMES | _PLACES | _CURRENCIES)

# (kind, name as written) of one occurrence, and the key it has
Found = tuple[str, str, str]


def fingerprint(finder: EntityFinder | None) -> str:
    """32 hex characters that change whenever `extract` could give another result for the same input."""
    model = finder.identity if finder else "no model"
    return hashlib.sha256(f"graph.extract {VERSION} {model}".encode()).hexdigest()[:32]


def extract(frame: pl.DataFrame, entities: EntityFinder | None) -> pl.DataFrame:
    """A CHUNKED frame to a RESULT frame whose payload is a `core.records.Contribution`.

    `entities` finds names; with None only surrogates and references become entities.
    """
    return frames.apply(frame, lambda row: encode(_contribution(row, entities)))


def _contribution(row: Mapping[str, Any], finder: EntityFinder | None) -> Contribution:
    redacted = decode(row["redacted"], Redacted)
    chunks = sorted(decode(row["chunks"], tuple[Chunk, ...]), key=lambda chunk: chunk.ordinal)
    found = {chunk.ordinal: occurrences for chunk, occurrences in zip(chunks, _occurrences(chunks, finder), strict=True)}
    relations = _relations(redacted, chunks)
    return Contribution(
        name=redacted.name,
        title=shortened(redacted.title),
        sections=_sections(chunks),
        entities=_entities(found.values(), relations),
        mentions=_mentions(found),
        relations=relations,
    )


def _occurrences(chunks: list[Chunk], finder: EntityFinder | None) -> Iterator[list[Found]]:
    texts = [chunk.text for chunk in chunks]
    names = finder.find(texts) if finder else ([] for _ in texts)
    for text, named in zip(texts, names, strict=True):
        of_names = [(kind, name, entity_key(kind, name)) for kind, name in named]
        yield [*_surrogates(text), *_references(text), *of_names]


def _surrogates(text: str) -> list[Found]:
    return [(match[1], match[0], entity_key(match[1], match[2])) for match in SURROGATE.finditer(text)]


def _references(text: str) -> list[Found]:
    matches = _REFERENCE.finditer(SURROGATE.sub(" ", text))
    return [
        ("REFERENCE", f"{series} {number}", reference_key(series, number))
        for series, number in (match.groups() for match in matches)
        if series not in _NO_SERIES
    ]


def _sections(chunks: list[Chunk]) -> tuple[Section, ...]:
    """One section a heading path, each after its ancestors, in reading order; equal paths are one section."""
    ordinals: dict[tuple[str, ...], list[int]] = {}
    for chunk in chunks:
        path = tuple(shortened(heading) for heading in chunk.heading_path)
        for depth in range(1, len(path) + 1):
            ordinals.setdefault(path[:depth], [])
        if path:
            ordinals[path].append(chunk.ordinal)
    return tuple(Section(path, tuple(under)) for path, under in ordinals.items())


def _mentions(found: Mapping[int, list[Found]]) -> tuple[Mention, ...]:
    counts = Counter((ordinal, key) for ordinal, occurrences in found.items() for _, _, key in occurrences)
    return tuple(Mention(key, ordinal, count) for (ordinal, key), count in sorted(counts.items()))


def _entities(found: Iterable[list[Found]], relations: tuple[Relation, ...]) -> tuple[Entity, ...]:
    """Every entity mentioned or pointed to, under its most frequent spelling. Documents' names are no entities of their own."""
    spellings: dict[str, Counter[tuple[str, str]]] = {}
    for kind, name, key in (occurrence for occurrences in found for occurrence in occurrences):
        spellings.setdefault(key, Counter())[kind, name] += 1
    for target in {relation.target for relation in relations if not relation.target.startswith("document:")}:
        spellings.setdefault(target, Counter({kind_and_name(target): 1}))
    chosen = ((key, min(counts, key=lambda spelling: (-counts[spelling], spelling))) for key, counts in spellings.items())
    return tuple(Entity(key, kind, bounded(name)) for key, (kind, name) in sorted(chosen))


def _relations(redacted: Redacted, chunks: list[Chunk]) -> tuple[Relation, ...]:
    source = document_key(redacted.name)
    edges = {*_links(redacted), *_known_as(redacted), *(("NAMES", key) for key in _hidden_names(redacted, chunks))}
    return tuple(Relation(source, kind, target) for kind, target in sorted(edges))


def _links(redacted: Redacted) -> Iterator[tuple[str, str]]:
    targets = {link.target for block in redacted.blocks for link in block.links}
    for key in (link_key(redacted.name, target) for target in targets):
        if key:
            yield ("LINKS_TO" if key.startswith("URL:") else "REFERS_TO"), key


def _known_as(redacted: Redacted) -> Iterator[tuple[str, str]]:
    """What others may call this document: its web address, and its number where its name is one (`pep-0008.rst`)."""
    for address in (redacted.name, redacted.uri):
        if key := url_key(address):
            yield "KNOWN_AS", key
    numbered = _REFERENCE_NAME.fullmatch(PurePosixPath(redacted.name).name.partition(".")[0])
    if numbered and numbered[1].upper() not in _NO_SERIES:
        yield "KNOWN_AS", reference_key(numbered[1], numbered[2])


def _hidden_names(redacted: Redacted, chunks: list[Chunk]) -> set[str]:
    """Surrogates outside the running text: title, name, address, metadata, headings and link targets."""
    headings = (heading for chunk in chunks for heading in chunk.heading_path)
    targets = (link.target for block in redacted.blocks for link in block.links)
    texts = [redacted.title, redacted.name, redacted.uri, *redacted.metadata.values(), *headings, *targets]
    return {key for text in texts for _, _, key in _surrogates(text)}
