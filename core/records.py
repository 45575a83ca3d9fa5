"""The records in which stages meet: a parser's output, redaction's, a chunker's.

Frozen, serialised as JSON by msgspec (`encode`, `decode`) into one binary column of a frame (`core.frames`).
No further behaviour is here, and no I/O.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from threading import Lock
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec

BlockKind = Literal["heading", "paragraph", "list_item", "table", "code", "caption", "formula"]

Record = TypeVar("Record")


class Link(msgspec.Struct, frozen=True, omit_defaults=True):
    """A hyperlink of a block: its text and its target. Both count as text for redaction."""

    text: str
    target: str


class Block(msgspec.Struct, frozen=True, omit_defaults=True):
    """One piece of a document in reading order.

    `level` is 1–6 for headings, the nesting depth (from 1) for list items, else 0. `page` is 1-based, None if the format has no pages.
    `box`: its place on that page, if known: left, top, right, bottom in points from the upper left corner.
    A table has `rows` (the first is the header if the format says so) and no `text`; every other kind has `text` and no rows.
    The alt text of a picture is a `caption`.
    """

    kind: BlockKind
    text: str = ""
    level: int = 0
    page: int | None = None
    rows: tuple[tuple[str, ...], ...] = ()
    links: tuple[Link, ...] = ()
    box: tuple[float, float, float, float] | None = None


class Signals(msgspec.Struct, frozen=True, omit_defaults=True):
    """How readable a document is: counts and shares, no text.

    `replaced`: U+FFFD and similar characters; `wordlike`: the share of words that look like words, 0–1, None if there are too few to
    tell; `empty_pages`: pages without text; `grades`: pages by how they were read; `dropped`: running heads and other parts that were
    left out, by kind; `ocr_confidence`: 0–1, the mean over the recognised text; `empty_tables`: tables without a filled cell.
    """

    characters: int = 0
    replaced: int = 0
    wordlike: float | None = None
    pages: int = 0
    empty_pages: int = 0
    grades: dict[str, int] = {}
    dropped: dict[str, int] = {}
    ocr_confidence: float | None = None
    empty_tables: int = 0


class Child(msgspec.Struct, frozen=True, omit_defaults=True):
    """A document inside another one: an attachment, a member of an archive. `path`: its place there, unique, with `/` between levels.

    `reason`: why its content could not be read (`parsers.REASONS`); `content` is empty then.
    """

    path: str
    content: bytes
    media_type: str = ""
    reason: str = ""


class Content(msgspec.Struct, frozen=True, omit_defaults=True):
    """A parser's output: not redacted, so never at rest in clear. `properties`: the file's own (author, subject, …).

    `language`: ISO 639-1, empty if unknown. `children` become documents of their own. `format`: a value of `parsers.Format`.
    """

    blocks: tuple[Block, ...]
    title: str = ""
    properties: dict[str, str] = {}
    language: str = ""
    signals: Signals = Signals()
    children: tuple[Child, ...] = ()
    format: str = ""


class Envelope(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the event says about a document besides its content: not redacted, so never at rest in clear.

    `name`: the document id, unique within the tenant; `uri`: where the content was, or is. `media_type` and `file_name`
    are hints for the parser; both may contain names of people. `refused`: why the content of a document inside another one could not
    be read.
    """

    name: str
    source: str
    title: str = ""
    uri: str = ""
    metadata: dict[str, str] = {}
    media_type: str = ""
    file_name: str = ""
    content_sha256: str = ""
    refused: str = ""


class Redacted(msgspec.Struct, frozen=True, omit_defaults=True):
    """A document whose every text has passed redaction.

    `found`: the number of replaced values, by entity. `language` and `format`: as its content's. `source`: the event's.
    """

    name: str
    blocks: tuple[Block, ...]
    title: str = ""
    uri: str = ""
    metadata: dict[str, str] = {}
    found: dict[str, int] = {}
    language: str = ""
    format: str = ""
    source: str = ""


class Chunk(msgspec.Struct, frozen=True, omit_defaults=True):
    """A passage to embed and cite.

    `ordinal` counts from 0 in reading order. `text_hash` is 32 hex characters over `embedded_text`;
    equal hashes are exact duplicates. `token_count` is the embedding model's, special tokens included. `parent`: the first and the last
    ordinal of the chunks whose text together answers in this one's place.
    """

    ordinal: int
    text: str
    text_hash: str
    token_count: int
    heading_path: tuple[str, ...] = ()
    page: int | None = None
    parent: tuple[int, int] | None = None

    @property
    def embedded_text(self) -> str:
        """What the model sees: the heading path as context, then the text."""
        return embedded_text(self.heading_path, self.text)


def embedded_text(heading_path: tuple[str, ...], text: str) -> str:
    """The heading path on one line, then the text; the text alone if there is no heading."""
    return f"{' > '.join(heading_path)}\n{text}" if heading_path else text


def text_hash(text: str) -> str:
    """32 hex characters, equal only for equal texts."""
    return blake2b(text.encode(), digest_size=16).hexdigest()


LONGEST_CONTEXT = 120
"""In characters: a title, with room to spare in every model."""


def document_context(title: str, name: str) -> str:
    """What names a document beside its passages: its title, else the last part of its name. One line; empty if there is neither.

    A name without letters, such as a row's number, says nothing of the document.
    """
    own = " ".join(title.split()) or " ".join(_NAME_PARTS.split(_EXTENSION.sub("", name.rstrip("/").rsplit("/", 1)[-1])))
    return own[:LONGEST_CONTEXT].strip() if title.strip() or any(map(str.isalpha, own)) else ""


_EXTENSION = re.compile(r"(?<=.)\.\w{1,5}$")
_NAME_PARTS = re.compile(r"[\s_.-]+")


class EmbeddingModel(NamedTuple):
    """An embedding model: its identity, over all that decides its vectors, and its name in the configuration."""

    identity: str
    name: str
    revision: str | None = None


class Entity(msgspec.Struct, frozen=True, omit_defaults=True):
    """A thing a document contributes to the graph.

    `key` is stable within a tenant, `kind` is upper case (`PERSON`, `ORG`, `EMAIL`, `URL`).
    """

    key: str
    kind: str
    name: str


class Mention(msgspec.Struct, frozen=True, omit_defaults=True):
    """An entity occurs in the chunk with this ordinal of the contributing document, `count` times."""

    entity: str
    ordinal: int
    count: int = 1


class Relation(msgspec.Struct, frozen=True, omit_defaults=True):
    """A directed edge that a document contributes, between two nodes by key.

    `kind` is upper case (`LINKS_TO`, `REFERS_TO`, …). `source` and `target` are entity keys or, with the prefix `document:`,
    a document's name.
    """

    source: str
    kind: str
    target: str


class Section(msgspec.Struct, frozen=True, omit_defaults=True):
    """A heading's place in a document: its path from the root, and the ordinals of the chunks under it (not under its children)."""

    path: tuple[str, ...]
    ordinals: tuple[int, ...]


class Contribution(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything that one document adds to the graph, so that a delete subtracts exactly that.

    `key`: of the document's own name; empty if it is `document:` and the name.
    """

    name: str
    title: str = ""
    sections: tuple[Section, ...] = ()
    entities: tuple[Entity, ...] = ()
    mentions: tuple[Mention, ...] = ()
    relations: tuple[Relation, ...] = ()
    key: str = ""


def encode(record: object) -> bytes:
    """JSON with keys in a fixed order, so that equal records give equal bytes (output keys depend on it)."""
    return msgspec.json.encode(record, order="deterministic")


def decode(payload: bytes, kind: type[Record]) -> Record:
    """The record that `encode` wrote. Raises `msgspec.ValidationError` if the payload is of another kind."""
    return _decoder(kind).decode(payload)


def convert(value: object, kind: type[Record]) -> Record:
    """A mapping as a record of this kind. Raises `msgspec.ValidationError` if it does not match."""
    _decoder(kind)
    return msgspec.convert(value, kind)


_resolving = Lock()
_decoders: dict[object, Any] = {}


def _decoder(kind: type[Record]) -> msgspec.json.Decoder[Record]:
    """One thread at a time: msgspec 0.22 resolves a struct's fields on first use, and a concurrent first use crashes the process."""
    if kind not in _decoders:
        with _resolving:
            _decoders[kind] = msgspec.json.Decoder(kind)
    found: msgspec.json.Decoder[Record] = _decoders[kind]
    return found
