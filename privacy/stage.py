"""The redaction stage: replaces the personal data in every text of a parsed document.

Decides which texts a document has and how each is read (prose, address, id). `privacy.redactor` redacts one text.
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

# the prefix of the file's own properties among the metadata, so that they do not hide the event's; the event's win for equal keys
PROPERTY_PREFIX = "file."


def redact(frame: pl.DataFrame, redactor: Redactor, keys: TenantKeys, released: Collection[str] = ()) -> pl.DataFrame:
    """Redact a PARSED frame into a RESULT frame whose payloads are `Redacted`. Texts that recur in the frame are read once.

    In documents that were `released` from quarantine, values that the profile quarantines get surrogates.
    """
    strict, lenient = DocumentRedactor(redactor, keys), DocumentRedactor(redactor, keys, refusing=False)
    return apply(frame, lambda row: _redact_row(row, lenient if row["document"] in released else strict))


def redact_text(text: str, redactor: Redactor, keys: TenantKeys) -> str:
    """Redact one text with the surrogates of the tenant's documents, so that a query with an address finds the chunk with its surrogate."""
    return redactor.replace(text, keys, refusing=False)[0]


def redact_id(text: str, redactor: Redactor, keys: TenantKeys) -> str:
    """Redact the id of a document or an event as the stage does: ordinary ids stay unchanged."""
    return redactor.replace(text, keys, kind="id", refusing=False)[0]


def redact_labelled(text: str, label: str, redactor: Redactor, keys: TenantKeys) -> str:
    """Redact the value of a document's metadata under this key as the stage does."""
    return redactor.replace(text, keys, label=label, refusing=False)[0]


class DocumentRedactor:
    """Redacts the texts of a tenant's documents and counts the replacements of each document.

    Caches each text's result for its own lifetime, which is one call of `redact`.
    """

    def __init__(self, redactor: Redactor, keys: TenantKeys, *, refusing: bool = True) -> None:
        self._redactor, self._keys, self._refusing = redactor, keys, refusing
        self._results: dict[tuple[str, Kind, str], tuple[str, Counter[str]]] = {}
        self._counts: Counter[str] = Counter()

    def read_ahead(self, blocks: Sequence[Block]) -> None:
        """Let a names model read the texts of these blocks in batches, before they are redacted one by one."""
        self._redactor.read_ahead(text for block in blocks for text in (block.text, *chain.from_iterable(block.rows)))

    def prose(self, text: str, label: str = "") -> str:
        return self._replace(text, "prose", label)

    def address(self, text: str) -> str:
        return self._replace(text, "address", "")

    def identifier(self, text: str) -> str:
        return self._replace(text, "id", "")

    def take_counts(self) -> dict[str, int]:
        """The number of replacements by entity since the last call."""
        counts, self._counts = self._counts, Counter()
        return dict(sorted(counts.items()))

    def _replace(self, text: str, kind: Kind, label: str) -> str:
        key = (text, kind, label)
        if key not in self._results:
            self._results[key] = self._redactor.replace(text, self._keys, kind=kind, label=label, refusing=self._refusing)
        redacted, counts = self._results[key]
        self._counts.update(counts)
        return redacted


def _redact_row(row: dict[str, Any], redactor: DocumentRedactor) -> bytes:
    envelope = records.decode(row["envelope"], Envelope)
    content = records.decode(row["content"], Content)
    redactor.take_counts()  # discard the counts of a document that failed halfway
    redacted = Redacted(
        name=redactor.identifier(envelope.name),
        blocks=tuple(_blocks(content.blocks, redactor)),
        title=redactor.prose(envelope.title or content.title),
        uri=redactor.identifier(envelope.uri),
        source=redactor.identifier(envelope.source),
        metadata=_metadata(content.properties, envelope.metadata, redactor),
        language=content.language,
        format=content.format,
    )
    return records.encode(msgspec.structs.replace(redacted, found=redactor.take_counts()))


def _metadata(properties: dict[str, str], metadata: dict[str, str], redactor: DocumentRedactor) -> dict[str, str]:
    """The file's and the event's metadata. Keys stay unchanged unless one is itself an address or a number."""
    merged = {f"{PROPERTY_PREFIX}{key}": value for key, value in properties.items()} | metadata
    return {redactor.identifier(key): redactor.prose(value, label=key) for key, value in merged.items()}


def _blocks(blocks: Sequence[Block], redactor: DocumentRedactor) -> Iterator[Block]:
    """Redact each block with the heading above it as a label: under `Account numbers`, eight digits are an account number."""
    heading = ""
    for place, block in enumerate(blocks):
        if place % _READ_AHEAD == 0:
            redactor.read_ahead(blocks[place : place + _READ_AHEAD])
        if block.kind == "heading":
            heading = ""
        yield _block(block, heading[:_HEADING], redactor)
        if block.kind == "heading":
            heading = block.text


# characters of a heading, blocks
_HEADING = 200
_READ_AHEAD = 256


def _block(block: Block, heading: str, redactor: DocumentRedactor) -> Block:
    links = tuple(Link(redactor.prose(link.text, heading), redactor.address(link.target)) for link in block.links)
    rows = _rows(block.rows, heading, redactor)
    return msgspec.structs.replace(block, text=redactor.prose(block.text, heading), rows=rows, links=links)


def _rows(rows: tuple[tuple[str, ...], ...], heading: str, redactor: DocumentRedactor) -> tuple[tuple[str, ...], ...]:
    """Redact each cell with its column's header and its row's first cell as labels: either may say that `12345678` is an account."""
    header = rows[0] if rows else ()
    return tuple(tuple(redactor.prose(cell, _label(header, row, column, heading)) for column, cell in enumerate(row)) for row in rows)


def _label(header: tuple[str, ...], row: tuple[str, ...], column: int, heading: str) -> str:
    column_label = header[column] if column < len(header) and row is not header else ""
    row_label = row[0] if column > 0 else ""
    return f"{column_label} {row_label} {heading}"
