"""Artifacts: the newest output of each stage for each document, in Postgres.

Compressed always, and sealed under the tenant's key if it precedes redaction (`core.sensitivity`). An artifact is written in the same
transaction as the ledger's record of it, so neither exists without the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import zstandard

from core.keys import TenantKeys
from core.sensitivity import SEALED
from core.sql import statements
from core.tenancy import Connection


def put(connection: Connection, keys: TenantKeys, stage: str, payloads: Mapping[str, bytes]) -> None:
    """Store each document's payload for this stage, replacing the former one."""
    if not payloads:
        return
    compressor = zstandard.ZstdCompressor(level=3)
    stored = [_pack(compressor, payload, keys, stage, document) for document, payload in payloads.items()]
    values = {"stage": stage, "documents": list(payloads), "keys": [output_key(keys, p) for p in payloads.values()], "payloads": stored}
    connection.execute(statements("core", "sql/artifacts.sql")["put"], values)


def get(connection: Connection, keys: TenantKeys, stage: str, documents: Sequence[str], max_bytes: int | None = None) -> dict[str, bytes]:
    """The payloads that exist, by document. Raises HeadraceError (`cannot-decrypt`) if a seal does not open.

    If `max_bytes` is given: at least one, and no more than that many stored bytes together.
    """
    query = statements("core", "sql/artifacts.sql")["get"]
    rows = connection.execute(query, {"documents": list(documents), "stage": stage, "max_bytes": max_bytes}, binary=True)
    return {row["document"]: _unpack(row["payload"], keys, stage, row["document"]) for row in rows}


def discard(connection: Connection, stages: Sequence[str], documents: Sequence[str]) -> None:
    """Delete these stages' payloads of these documents."""
    connection.execute(statements("core", "sql/artifacts.sql")["discard"], {"documents": list(documents), "stages": list(stages)})


def output_key(keys: TenantKeys, payload: bytes) -> str:
    """Equal outputs have equal keys, so an unchanged output stops a change. Keyed: a plain digest would confirm guessed texts."""
    return keys.digest(payload, "output")


def _pack(compressor: zstandard.ZstdCompressor, payload: bytes, keys: TenantKeys, stage: str, document: str) -> bytes:
    packed = compressor.compress(payload)
    return keys.seal(packed, f"{stage}/{document}") if stage in SEALED else packed


def _unpack(stored: bytes, keys: TenantKeys, stage: str, document: str) -> bytes:
    packed = keys.open(stored, f"{stage}/{document}") if stage in SEALED else stored
    return zstandard.ZstdDecompressor().decompress(packed)
