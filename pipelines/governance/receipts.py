"""An erasure's receipt: its fields, its signature, and whether what it states still holds.

It names nothing that was erased. The keys of the documents are sealed under the tenant's key, so that only this installation can look
again; once the tenant's key is destroyed, nobody can. The signature is an HMAC-SHA256 under a key derived from the master key, so that it
outlives tenants: only the holder of the master key can verify it or make one.
"""

from __future__ import annotations

import hmac
import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Literal
from uuid import uuid4

import msgspec
from msgspec import UNSET, UnsetType

from core.errors import HeadraceError, TenantError
from core.keys import TenantKeys
from pipelines.governance import audit, holdings
from pipelines.governance.holdings import Remaining
from pipelines.governance.installation_keys import keyring
from pipelines.resources import Resources

Kind = Literal["document", "source", "subject", "tenant"]

NOT_COVERED = (
    "Kafka keeps events and outcomes until the topics' retention, backups what they hold, and the source system its copy: "
    "where it publishes a document again, under a higher sequence, that document is back."
)
NOT_COVERED_OF_A_TENANT = (
    "Its key is destroyed: what backups hold of it that precedes redaction is unreadable with the master key alone; they hold its redacted "
    "texts, and a copy of the wrapped key where they have the database whole. Source systems keep their copies."
)


class StoreCounts(msgspec.Struct, frozen=True):
    """What one store held before the erasure, and what it holds after it."""

    before: int
    after: int


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """A signed receipt. Its file is `as_written`; fields that are UNSET are not in it.

    `erased_at`: ISO 8601, UTC. `documents`: how many. Of documents: `came_back` counts those that landed again under a higher sequence
    meanwhile, `not_looked_at` those that are not redacted yet (kind `subject`), `tombstone_sequence` is that of a single document, and
    `documents_sealed` is for `opened`. Of a tenant: `key_mark`, see `mark_of`. `complete`: every `after` is 0 and every document was
    looked at. `audit`: the mark of the audit log's entry that the erasure began with.
    """

    receipt: str
    tenant: str
    kind: Kind
    erased_at: str
    documents: int
    came_back: int | UnsetType = UNSET
    not_looked_at: int | UnsetType = UNSET
    tombstone_sequence: int | UnsetType | None = UNSET
    documents_sealed: str | UnsetType = UNSET
    key_mark: str | UnsetType = UNSET
    stores: Mapping[str, StoreCounts]
    complete: bool
    not_covered: str
    audit: str
    signature: str = ""


class Verification(msgspec.Struct, frozen=True):
    """The result of looking at a receipt again. `verified`: everything it states holds.

    `audit`: its entry is in the audit log, and a later entry with its digest. `stores`: what they hold now. `came_back`: documents that
    were published again since, under a higher sequence; what the stores hold of these is not counted. If the signature is wrong nothing
    else is looked at: `audit` and `came_back` are None then.
    """

    verified: bool
    signature: bool
    audit: bool | None
    stores: Mapping[str, int]
    came_back: int | None


def new_id() -> str:
    return uuid4().hex


def issue(
    resources: Resources, number: str, tenant: str, kind: Kind, stores: Mapping[str, StoreCounts], begun: audit.Mark, **fields: Any
) -> Receipt:
    """The signed receipt of an erasure that ends now. `fields`: those of `Receipt` that depend on the kind."""
    unsigned = Receipt(
        receipt=number,
        tenant=tenant,
        kind=kind,
        erased_at=datetime.now(UTC).isoformat(timespec="seconds"),
        **fields,
        stores=stores,
        complete=not any(counts.after for counts in stores.values()) and not fields.get("not_looked_at"),
        not_covered=NOT_COVERED_OF_A_TENANT if kind == "tenant" else NOT_COVERED,
        audit=str(begun),
    )
    return msgspec.structs.replace(unsigned, signature=_signature(resources, as_written(unsigned)))


def as_written(receipt: Receipt) -> dict[str, Any]:
    """The receipt as its file has it, for `json.dumps`."""
    written: dict[str, Any] = msgspec.to_builtins(receipt)
    return written


def bad_receipt() -> HeadraceError:
    """The error for a file that is not an authentic receipt of documents."""
    return HeadraceError(
        "this is no receipt of documents of this tenant, or it was changed",
        reason="bad-receipt",
        remedy="Pass the file as it was written.",
    )


def authentic(resources: Resources, receipt: Mapping[str, Any]) -> bool:
    """Whether this installation signed it, unchanged. `receipt` is the file's JSON, of this or an earlier version."""
    given = receipt.get("signature")
    return isinstance(given, str) and given.isascii() and hmac.compare_digest(given, _signature(resources, receipt))


def digest(receipt: Mapping[str, Any]) -> str:
    """The digest that the audit log has in the entry of the finished erasure. SHA-256, hex."""
    return sha256(_signed_bytes(receipt)).hexdigest()


def _signed_bytes(receipt: Mapping[str, Any]) -> bytes:
    unsigned = {name: value for name, value in receipt.items() if name != "signature"}
    return json.dumps(unsigned, sort_keys=True, separators=(",", ":")).encode()


def _signature(resources: Resources, receipt: Mapping[str, Any]) -> str:
    # the audit log's entry that the erasure began with tells which master key was in force
    begun = str(receipt.get("audit", "")).partition(":")[0]
    number = int(begun) if begun.isascii() and begun.isdigit() and len(begun) < 19 else 0
    return hmac.digest(keyring(resources).key("receipt", number), _signed_bytes(receipt), sha256).hex()


def sealed(keys: TenantKeys, number: str, documents: Sequence[str]) -> str:
    """The documents' keys, sealed for the receipt of this id; `opened` reads them."""
    return b64encode(keys.seal(bytes.fromhex("".join(documents)), f"receipt/{number}")).decode()


def opened(keys: TenantKeys, number: str, documents_sealed: str) -> list[str]:
    """The keys of a receipt's documents. Raises CannotDecrypt if the tenant has another key now."""
    plain = keys.open(b64decode(documents_sealed), f"receipt/{number}")
    return [plain[at : at + 16].hex() for at in range(0, len(plain), 16)]


def mark_of(keys: TenantKeys, number: str) -> str:
    """A digest that tells whether a tenant of the same name still has the key that was destroyed."""
    return keys.digest(number.encode(), "receipt")


def verify(resources: Resources, receipt: Mapping[str, Any]) -> Verification:
    """Look at a receipt again, as its file has it. Raises Unavailable if Neo4j does not answer."""
    if not authentic(resources, receipt):
        return Verification(verified=False, signature=False, audit=None, stores={}, came_back=None)
    found = _of_tenant(resources, receipt) if receipt["kind"] == "tenant" else _of_documents(resources, receipt)
    logged = _in_audit_log(resources, receipt)
    verified = logged and not any(found.stores.values())
    return Verification(verified=verified, signature=True, audit=logged, stores=found.stores, came_back=found.came_back)


def _in_audit_log(resources: Resources, receipt: Mapping[str, Any]) -> bool:
    """The signature alone is no proof of this: a former master key can sign a receipt that names an entry from before it was changed."""
    begun = audit.parse_mark(receipt["audit"])
    details = audit.completion(resources, begun, receipt["receipt"])
    # entries from before digests were recorded have none
    return audit.has(resources, begun) and details is not None and details.get("sha256", digest(receipt)) == digest(receipt)


_NOTHING = Remaining({}, 0)


def _of_documents(resources: Resources, receipt: Mapping[str, Any]) -> Remaining:
    try:
        documents = opened(resources.session(receipt["tenant"]).keys, receipt["receipt"], receipt["documents_sealed"])
    except TenantError:
        return _NOTHING
    except HeadraceError as error:
        if error.reason != "cannot-decrypt":
            raise
        # the tenant was removed with everything, and recreated under its name
        return _NOTHING
    return holdings.of_erased(resources, receipt["tenant"], documents)


def _of_tenant(resources: Resources, receipt: Mapping[str, Any]) -> Remaining:
    tenant = receipt["tenant"]
    try:
        recreated = mark_of(resources.session(tenant).keys, receipt["receipt"]) != receipt["key_mark"]
    except TenantError:
        recreated = False
    # a recreated tenant has another key: what it has is not the erased one's
    return Remaining({} if recreated else holdings.traces(resources, tenant), int(recreated))
