"""An erasure's receipt: what it says, its signature, and whether what it says still holds.

It names nothing that was erased. Which documents it speaks of is sealed under the tenant's key, for this installation alone to look again;
where the tenant's key was destroyed, nobody can tell any more. The signature is an HMAC-SHA256 under a key derived from the master key, so
that it outlives tenants: whoever holds the master key can verify it, and nobody else can make one.
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

from core.errors import HeadraceError, TenantError
from core.keys import TenantKeys
from pipelines.governance import audit
from pipelines.resources import Resources

Kind = Literal["document", "source", "subject", "tenant"]
Stores = Mapping[str, Mapping[str, int]]

NOT_COVERED = (
    "Kafka keeps events and outcomes until the topics' retention, backups what they hold, and the source system its copy: "
    "where it publishes a document again, under a higher sequence, that document is back."
)
NOT_COVERED_OF_A_TENANT = (
    "Its key is destroyed: what backups hold of it that precedes redaction is unreadable with the master key alone; they hold its redacted "
    "texts, and a copy of the wrapped key where they have the database whole. Source systems keep their copies."
)


def new_id() -> str:
    return uuid4().hex


def signed(resources: Resources, number: str, tenant: str, kind: Kind, stores: Stores, begun: audit.Mark, **more: Any) -> dict[str, Any]:
    """The receipt of an erasure that ends now. `complete` where every store's `after` is 0 and every document was looked at."""
    told = {
        "receipt": number,
        "tenant": tenant,
        "kind": kind,
        "erased_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **more,
        "stores": stores,
        "complete": not any(counts["after"] for counts in stores.values()) and not more.get("not_looked_at"),
        "not_covered": NOT_COVERED_OF_A_TENANT if kind == "tenant" else NOT_COVERED,
        "audit": str(begun),
    }
    return told | {"signature": _signature(resources, told)}


def authentic(resources: Resources, receipt: Mapping[str, Any]) -> bool:
    """Whether this installation signed it, as it is."""
    given = receipt.get("signature")
    return isinstance(given, str) and given.isascii() and hmac.compare_digest(given, _signature(resources, receipt))


def digest(receipt: Mapping[str, Any]) -> str:
    """What the audit log says of it in the entry that the erasure is done. SHA-256, hex."""
    return sha256(_plain(receipt)).hexdigest()


def _plain(receipt: Mapping[str, Any]) -> bytes:
    unsigned = {name: value for name, value in receipt.items() if name != "signature"}
    return json.dumps(unsigned, sort_keys=True, separators=(",", ":")).encode()


def _signature(resources: Resources, receipt: Mapping[str, Any]) -> str:
    from pipelines.governance.installation_keys import keyring

    # the audit log's entry that it began with says which master key was in force
    begun = str(receipt.get("audit", "")).partition(":")[0]
    number = int(begun) if begun.isascii() and begun.isdigit() and len(begun) < 19 else 0
    return hmac.digest(keyring(resources).key("receipt", number), _plain(receipt), sha256).hex()


def sealed(keys: TenantKeys, number: str, documents: Sequence[str]) -> str:
    """The documents' keys, for `opened` alone."""
    return b64encode(keys.seal(bytes.fromhex("".join(documents)), f"receipt/{number}")).decode()


def opened(keys: TenantKeys, receipt: Mapping[str, Any]) -> list[str]:
    """The keys of the documents that a receipt speaks of. Raises CannotDecrypt where the tenant has another key by now."""
    plain = keys.open(b64decode(receipt["documents_sealed"]), f"receipt/{receipt['receipt']}")
    return [plain[at : at + 16].hex() for at in range(0, len(plain), 16)]


def mark_of(keys: TenantKeys, number: str) -> str:
    """By this a receipt knows whether a tenant of the same name has the key that was destroyed."""
    return keys.digest(number.encode(), "receipt")


def verify(resources: Resources, receipt: Mapping[str, Any]) -> dict[str, Any]:
    """Look again: `signature`, `audit` (its entry is in the chain, and one behind it that has its digest), `stores` as they are
    now, and `verified`: all of it holds.

    `came_back`: documents that were published again since, under a higher sequence; what is there of them now is no part of it.
    Nothing but the signature is looked at where that is wrong. Raises Unavailable where Neo4j is away.
    """
    if not authentic(resources, receipt):
        return {"verified": False, "signature": False, "audit": None, "stores": {}, "came_back": None}
    told = _of_tenant(resources, receipt) if receipt["kind"] == "tenant" else _of_documents(resources, receipt)
    there = _in_the_log(resources, receipt)
    return {"verified": there and not any(told["stores"].values()), "signature": True, "audit": there, **told}


def _in_the_log(resources: Resources, receipt: Mapping[str, Any]) -> bool:
    """The signature alone does not say so: a former master's key signs whatever names an entry from before it was changed."""
    begun = audit.marked(receipt["audit"])
    said = audit.receipted(resources, begun, receipt["receipt"])
    # one from before digests were noted has none
    return audit.holds(resources, begun) and said is not None and said.get("sha256", digest(receipt)) == digest(receipt)


def _of_documents(resources: Resources, receipt: Mapping[str, Any]) -> dict[str, Any]:
    from pipelines.governance.erasure import left_of

    try:
        documents = opened(resources.session(receipt["tenant"]).keys, receipt)
    except TenantError:
        return {"stores": {}, "came_back": 0}
    except HeadraceError as error:
        if error.reason != "cannot-decrypt":
            raise
        # a tenant that was removed with all it had, and made again under its name
        return {"stores": {}, "came_back": 0}
    return left_of(resources, receipt["tenant"], documents)


def _of_tenant(resources: Resources, receipt: Mapping[str, Any]) -> dict[str, Any]:
    from pipelines.governance.erasure import left_of_tenant

    tenant = receipt["tenant"]
    try:
        again = mark_of(resources.session(tenant).keys, receipt["receipt"]) != receipt["key_mark"]
    except TenantError:
        again = False
    # what one made again under its name has is no part of it: its key is another
    return {"stores": {} if again else left_of_tenant(resources, tenant), "came_back": int(again)}
