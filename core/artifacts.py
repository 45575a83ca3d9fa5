"""What stages leave for each other: one payload per document and stage, the newest, in Postgres.

Compressed always, and sealed under the tenant's key where it precedes redaction (`SEALED`). An artifact is written in the same
transaction as the ledger's record of it, so neither is ever without the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import zstandard

from core.keys import TenantKeys
from core.sql import statements
from core.tenancy import Connection

SEALED = frozenset({"land", "parse"})
"""The stages whose output is not redacted yet: the event's content, and what a parser made of it."""


def put(connection: Connection, keys: TenantKeys, stage: str, payloads: Mapping[str, bytes]) -> None:
    """Store each document's payload for this stage, replacing what was there."""
    if not payloads:
        return
    compressor = zstandard.ZstdCompressor(level=3)
    stored = [_pack(compressor, payload, keys, stage, document) for document, payload in payloads.items()]
    values = {"stage": stage, "documents": list(payloads), "keys": [output_key(keys, p) for p in payloads.values()], "payloads": stored}
    connection.execute(statements("core", "sql/artifacts.sql")["put"], values)


def get(connection: Connection, keys: TenantKeys, stage: str, documents: Sequence[str], max_bytes: int | None = None) -> dict[str, bytes]:
    """The payloads that are there, by document. Raises HeadraceError (`cannot-decrypt`) where a seal does not open.

    Where `max_bytes` is given, one at least, and of the others as many as are no more together, as they are stored.
    """
    query = statements("core", "sql/artifacts.sql")["get"]
    rows = connection.execute(query, {"documents": list(documents), "stage": stage, "max_bytes": max_bytes}, binary=True)
    return {row["document"]: _unpack(row["payload"], keys, stage, row["document"]) for row in rows}


def discard(connection: Connection, stages: Sequence[str], documents: Sequence[str]) -> None:
    """Remove what these stages left for these documents."""
    connection.execute(statements("core", "sql/artifacts.sql")["discard"], {"documents": list(documents), "stages": list(stages)})


def output_key(keys: TenantKeys, payload: bytes) -> str:
    """Equal outputs have equal keys, so that an unchanged output stops the change there. Keyed: a digest of text must tell nothing."""
    return keys.digest(payload, "output")


def _pack(compressor: zstandard.ZstdCompressor, payload: bytes, keys: TenantKeys, stage: str, document: str) -> bytes:
    packed = compressor.compress(payload)
    return keys.seal(packed, f"{stage}/{document}") if stage in SEALED else packed


def _unpack(stored: bytes, keys: TenantKeys, stage: str, document: str) -> bytes:
    packed = keys.open(stored, f"{stage}/{document}") if stage in SEALED else stored
    return zstandard.ZstdDecompressor().decompress(packed)
