"""A document's contribution as rows for Cypher. Pure: no driver here.

The model, per tenant:

    (:Document {key, version, digest, name, title})    -[:HAS_SECTION]-> (:Section {key, title, level, position})
    (:Section)  -[:SUBSECTION_OF]-> (:Section)         -[:HAS_CHUNK]->   (:Chunk {key, ordinal, text_hash, heading})
    (:Chunk)    -[:IN_SECTION]-> (:Section)
    (:Chunk)    -[:MENTIONS {document, name, count}]-> (:Entity {key, kind, name})
    (:Document) -[:NAMED | LINKS_TO | REFERS_TO | KNOWN_AS | NUMBERED | NAMES {document}]-> (:Entity)
    (:Entity)   -[:RELATES {document, kind}]-> (:Entity)
    (:Tombstone {key, version})

Chunks have no text: it is in the index, under `text_hash`.

The order of arrival does not matter, because no document points to another. Documents point to names, which are entities of the kind
DOCUMENT: to their own by NAMED, to others' by REFERS_TO. `a.md` refers to `b.md` as
`(a)-[:REFERS_TO]->(:Entity {key: "document:b.md"})<-[:NAMED]-(b)`, and either side may come first, be removed, or never come.
For the same reason an entity's kind and name are functions of its key; the spelling in a document is a property of its MENTIONS.

One relationship depends on other documents. A document is NUMBERED by the number in its name (`hr/rev-2024.md`), and KNOWN_AS that too
while no other document has the number: a number that two documents have refers to neither. This is settled in the transaction that writes
or removes a document with the number, so that it is a function of the documents that are there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import msgspec

from core.errors import DocumentError
from core.records import Contribution, Relation, encode
from graph.keys import bounded, kind_and_name, plain_key, shortened

Row = dict[str, Any]

MODEL = 1
"""The revision of the model above. Raise it when the model changes, so that every document is written again."""
NAMED = "NAMED"
NUMBERED = "NUMBERED"
HEADING_CHARACTERS = 120

_DOCUMENT = re.compile(r"[0-9a-f]{32}")
_KIND = re.compile(r"[A-Z][A-Z_]{0,63}")


class Projected(msgspec.Struct, frozen=True, dict=True):
    """A document to write to Neo4j: its key `document` (32 hex characters), its version, and its chunks' text hashes by ordinal.

    Raises DocumentError (`bad-contribution`) if the parts do not fit each other.
    """

    document: str
    version: int
    contribution: Contribution
    chunk_ids: tuple[str, ...]

    def __post_init__(self) -> None:
        _require(_DOCUMENT.fullmatch(self.document) is not None, "a document's key must be 32 hex characters")
        _require(0 <= self.version < 2**63, "a version must be a non-negative 64-bit integer")
        _require(all(section.path for section in self.contribution.sections), "a section has no path")
        _require(all(0 <= ordinal < len(self.chunk_ids) for ordinal in self._ordinals()), "an ordinal has no chunk")
        _require(all(_KIND.fullmatch(relation.kind) for relation in self.contribution.relations), "a relation's kind must be upper case")

    @cached_property
    def digest(self) -> str:
        """32 hex characters over everything that is written: a document with an equal digest is not written again."""
        return hashlib.sha256(encode((MODEL, self.contribution, self.chunk_ids))).hexdigest()[:32]

    @property
    def weight(self) -> int:
        """Roughly the number of nodes and relationships that this writes."""
        of = self.contribution
        return 1 + 2 * len(self.chunk_ids) + 2 * len(of.sections) + len(of.entities) + len(of.mentions) + len(of.relations)

    @cached_property
    def own_key(self) -> str:
        """The key of the document's name."""
        return self.contribution.key or plain_key(self.contribution.name)

    def _ordinals(self) -> Iterator[int]:
        yield from (mention.ordinal for mention in self.contribution.mentions)
        yield from (ordinal for section in self.contribution.sections for ordinal in section.ordinals)


def projection_fingerprint() -> str:
    """32 hex characters that change with `MODEL`. The hashed text is from when projection and extraction shared a fingerprint."""
    return hashlib.sha256(f"graph.extract {MODEL} no model".encode()).hexdigest()[:32]


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise DocumentError(problem, reason="bad-contribution")


def newest(rows: Iterable[Projected]) -> list[Projected]:
    """One row per document: its highest version, the last one among equals."""
    chosen: dict[str, Projected] = {}
    for row in rows:
        if row.document not in chosen or chosen[row.document].version <= row.version:
            chosen[row.document] = row
    return list(chosen.values())


def batches(rows: Sequence[Projected], limit: int) -> Iterator[list[Projected]]:
    """Consecutive documents of at most `limit` weight together, or one heavier document: a transaction must fit the server's heap."""
    batch: list[Projected] = []
    weight = 0
    for row in rows:
        if batch and weight + row.weight > limit:
            yield batch
            batch, weight = [], 0
        batch.append(row)
        weight += row.weight
    if batch:
        yield batch


def fences(rows: Iterable[Projected]) -> list[Row]:
    return [{"document": row.document, "version": row.version, "digest": row.digest} for row in rows]


def documents(rows: Iterable[Projected]) -> list[Row]:
    return [
        fence | {"name": bounded(row.contribution.name), "title": shortened(row.contribution.title)}
        for row in rows
        for fence in fences([row])
    ]


def sections(rows: Iterable[Projected]) -> list[Row]:
    return [
        {
            "document": row.document,
            "key": _part(row, position),
            "title": shortened(section.path[-1]),
            "level": len(section.path),
            "position": position,
        }
        for row in rows
        for position, section in enumerate(row.contribution.sections)
    ]


def nestings(rows: Iterable[Projected]) -> list[Row]:
    return [nesting for row in rows for nesting in _nestings(row)]


def _nestings(row: Projected) -> Iterator[Row]:
    positions = {section.path: position for position, section in enumerate(row.contribution.sections)}
    for path, position in positions.items():
        if path[:-1] in positions:
            yield {"child": _part(row, position), "parent": _part(row, positions[path[:-1]])}


def chunks(rows: Iterable[Projected]) -> list[Row]:
    return [chunk for row in rows for chunk in _chunks(row)]


def _chunks(row: Projected) -> Iterator[Row]:
    headings = {ordinal: section.path[-1] for section in row.contribution.sections for ordinal in section.ordinals}
    for ordinal, text_hash in enumerate(row.chunk_ids):
        heading = headings.get(ordinal, "")[:HEADING_CHARACTERS]
        yield {"document": row.document, "key": _part(row, ordinal), "ordinal": ordinal, "text_hash": text_hash, "heading": heading}


def placements(rows: Iterable[Projected]) -> list[Row]:
    return [
        {"chunk": _part(row, ordinal), "section": _part(row, position)}
        for row in rows
        for position, section in enumerate(row.contribution.sections)
        for ordinal in section.ordinals
    ]


def mentions(rows: Iterable[Projected]) -> list[Row]:
    return [mention for row in rows for mention in _mentions(row)]


def _mentions(row: Projected) -> Iterator[Row]:
    spellings = {entity.key: entity.name for entity in row.contribution.entities}
    for mention in row.contribution.mentions:
        yield {
            "document": row.document,
            "chunk": _part(row, mention.ordinal),
            "entity": bounded(mention.entity),
            "name": shortened(spellings.get(mention.entity, kind_and_name(mention.entity)[1])),
            "count": mention.count,
        }


def relations(rows: Iterable[Projected]) -> list[Row]:
    """Relations whose source is the document itself, NAMED first."""
    return [_relation(row, relation) for row in rows for relation in _all_relations(row) if relation.source == row.own_key]


def numbers(rows: Iterable[Projected]) -> set[str]:
    """The keys of the numbers that documents have."""
    return {relation["target"] for relation in relations(rows) if relation["kind"] == NUMBERED}


def entity_relations(rows: Iterable[Projected]) -> list[Row]:
    """Relations between two entities."""
    return [_relation(row, relation) for row in rows for relation in _all_relations(row) if relation.source != row.own_key]


def entities(rows: Sequence[Projected]) -> list[Row]:
    """Every entity that will have a relationship, ordered by key."""
    keys = {mention["entity"] for mention in mentions(rows)}
    keys |= {relation["target"] for relation in relations(rows)}
    keys |= {relation[end] for relation in entity_relations(rows) for end in ("source", "target")}
    return [{"key": key, "kind": kind, "name": name} for key in sorted(keys) for kind, name in [kind_and_name(key)]]


def _all_relations(row: Projected) -> list[Relation]:
    named = Relation(row.own_key, NAMED, row.own_key)
    contributed = (Relation(bounded(edge.source), edge.kind, bounded(edge.target)) for edge in row.contribution.relations)
    return list(dict.fromkeys((named, *contributed)))


def _relation(row: Projected, relation: Relation) -> Row:
    return {"document": row.document, "kind": relation.kind, "source": relation.source, "target": relation.target}


def _part(row: Projected, position: int) -> str:
    return f"{row.document}/{position}"
