"""The redaction stage: a parsed document in, the same document with every text redacted out.

Which texts a document has, and as what each is read, is decided here; how a text is read is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from typing import Any

import msgspec
import polars as pl

from core import records
from core.frames import apply
from core.keys import TenantKeys
from core.records import Block, Content, Envelope, Link, Redacted
from privacy.redactor import Kind, Redactor

# The file's own properties stand under this prefix, so that they never hide what the event says; where both have a key, the event's wins.
PROPERTY_PREFIX = "file."


def redact(frame: pl.DataFrame, redactor: Redactor, keys: TenantKeys, released: Collection[str] = ()) -> pl.DataFrame:
    """A PARSED frame in, a RESULT frame out whose payload is `Redacted`. Texts that recur in the frame are read once.

    What the profile would quarantine a document for gets a surrogate in the `released` ones.
    """
    pen, lenient = _Pen(redactor, keys), _Pen(redactor, keys, refusing=False)
    return apply(frame, lambda row: _redact_row(row, lenient if row["document"] in released else pen))


def redact_text(text: str, redactor: Redactor, keys: TenantKeys) -> str:
    """One text, with the surrogates that the tenant's documents have: a question with an address finds the chunk with its surrogate."""
    return redactor.replace(text, keys, refusing=False)[0]


def redact_id(text: str, redactor: Redactor, keys: TenantKeys) -> str:
    """A document's or an event's id as a document's own is redacted: ordinary ones stay as they are."""
    return redactor.replace(text, keys, kind="id", refusing=False)[0]


class _Pen:
    """Redacts texts for one tenant and counts what it replaced since it was last asked. Remembers texts, for the life of one call only."""

    def __init__(self, redactor: Redactor, keys: TenantKeys, *, refusing: bool = True) -> None:
        self._redactor, self._keys, self._refusing = redactor, keys, refusing
        self._seen: dict[tuple[str, Kind, str], tuple[str, Counter[str]]] = {}
        self._found: Counter[str] = Counter()

    def ahead(self, blocks: Sequence[Block]) -> None:
        """What these blocks have to read, all at once: they are read one by one all the same, and find it read."""
        self._redactor.ahead(text for block in blocks for text in (block.text, *chain.from_iterable(block.rows)))

    def prose(self, text: str, label: str = "") -> str:
        return self._replace(text, "prose", label)

    def address(self, text: str) -> str:
        return self._replace(text, "address", "")

    def identifier(self, text: str) -> str:
        return self._replace(text, "id", "")

    def found(self) -> dict[str, int]:
        """Counts since the last call, by entity."""
        found, self._found = self._found, Counter()
        return dict(sorted(found.items()))

    def _replace(self, text: str, kind: Kind, label: str) -> str:
        key = (text, kind, label)
        if key not in self._seen:
            self._seen[key] = self._redactor.replace(text, self._keys, kind=kind, label=label, refusing=self._refusing)
        redacted, counts = self._seen[key]
        self._found.update(counts)
        return redacted


def _redact_row(row: dict[str, Any], pen: _Pen) -> bytes:
    envelope = records.decode(row["envelope"], Envelope)
    content = records.decode(row["content"], Content)
    pen.found()  # what a document had that was refused midway is not this one's
    redacted = Redacted(
        name=pen.identifier(envelope.name),
        blocks=tuple(_blocks(content.blocks, pen)),
        title=pen.prose(envelope.title or content.title),
        uri=pen.identifier(envelope.uri),
        metadata=_metadata(content.properties, envelope.metadata, pen),
    )
    return records.encode(msgspec.structs.replace(redacted, found=pen.found()))


def _metadata(properties: dict[str, str], metadata: dict[str, str], pen: _Pen) -> dict[str, str]:
    """Both, under keys that stay as they are unless one is itself an address or a number."""
    merged = {f"{PROPERTY_PREFIX}{key}": value for key, value in properties.items()} | metadata
    return {pen.identifier(key): pen.prose(value, label=key) for key, value in merged.items()}


def _blocks(blocks: Sequence[Block], pen: _Pen) -> Iterator[Block]:
    """Each block read with the heading above it: under `Account numbers`, eight digits are one."""
    heading = ""
    for place, block in enumerate(blocks):
        if place % _AHEAD == 0:
            pen.ahead(blocks[place : place + _AHEAD])
        if block.kind == "heading":
            heading = ""
        yield _block(block, heading[:_HEADING], pen)
        if block.kind == "heading":
            heading = block.text


_HEADING = 200
_AHEAD = 256


def _block(block: Block, heading: str, pen: _Pen) -> Block:
    links = tuple(Link(pen.prose(link.text, heading), pen.address(link.target)) for link in block.links)
    return msgspec.structs.replace(block, text=pen.prose(block.text, heading), rows=_rows(block.rows, heading, pen), links=links)


def _rows(rows: tuple[tuple[str, ...], ...], heading: str, pen: _Pen) -> tuple[tuple[str, ...], ...]:
    """Each cell read with its column's header and its row's first cell: `Account` over or beside `12345678` says what it is."""
    header = rows[0] if rows else ()
    return tuple(tuple(pen.prose(cell, _label(header, row, column, heading)) for column, cell in enumerate(row)) for row in rows)


def _label(header: tuple[str, ...], row: tuple[str, ...], column: int, heading: str) -> str:
    above = header[column] if column < len(header) and row is not header else ""
    beside = row[0] if column > 0 else ""
    return f"{above} {beside} {heading}"
