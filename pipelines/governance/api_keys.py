"""API keys: what a program shows `headrace serve` to be answered for one tenant and a list of principals.

A key is `hr_<name>_<secret>`: twelve hexadecimal characters by which people know it, and 256 random bits. Only its SHA-256 is stored: what
is that random cannot be guessed from its digest, so that a slow, salted hash, made for passwords, would add nothing but time. Whoever reads
the table can present no key.
"""

from __future__ import annotations

import hmac
import re
import secrets
from datetime import datetime
from hashlib import sha256

import msgspec

from core.errors import HeadraceError
from core.principals import Principals, principals
from core.records import convert
from core.sql import statements
from pipelines.governance import audit
from pipelines.resources import Resources

_KEY = re.compile(r"hr_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")


class ApiKey(msgspec.Struct, frozen=True):
    """A key without its secret. `key`: its name. `rate`: requests a second, at most. `note`: what it is for, as its maker says."""

    key: str
    tenant: str
    principals: tuple[str, ...]
    rate: float
    note: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


def add(resources: Resources, tenant: str, readers: Principals, *, rate: float = 10, days: int = 90, note: str = "") -> tuple[ApiKey, str]:
    """Make a key for this tenant, and these principals beside everyone. Returns it with its text, which nobody can be shown again.

    Raises TenantError, and HeadraceError `bad-principals`.
    """
    from core.schema.migrate import owner

    name = secrets.token_hex(6)
    text = f"hr_{name}_{secrets.token_urlsafe(32)}"
    resources.database.get(tenant)
    readers = principals(readers)
    values = {"tenant": tenant, "principals": readers, "rate": rate, "days": days, "note": note}
    recorded = audit.recorded(resources, "api-key-add", tenant, key=name, principals=len(readers), rate=rate, days=days)
    with recorded, owner(resources.owner_url) as connection:
        [row] = connection.execute(_SQL["add"], {"key": name, "digest": _digest(text), **values})
    return convert(row, ApiKey), text


def every(resources: Resources, tenant: str | None = None) -> list[ApiKey]:
    """The keys of one tenant or of all, newest first, those that are revoked or expired too."""
    with resources.database.control() as connection:
        return [convert(row, ApiKey) for row in connection.execute(_SQL["list"], {"tenant": tenant})]


def revoke(resources: Resources, key: str) -> ApiKey:
    """End a key: no request that begins afterwards is answered. Safe to repeat. Raises HeadraceError `unknown-api-key`."""
    from core.schema.migrate import owner

    found = next((one for one in every(resources) if one.key == key), None)
    if found is None:
        raise HeadraceError("there is no such API key", reason="unknown-api-key", remedy="`headrace api-key list` shows their names.")
    with audit.recorded(resources, "api-key-revoke", found.tenant, key=key), owner(resources.owner_url) as connection:
        [row] = connection.execute(_SQL["revoke"], {"key": key})
    return convert(row, ApiKey)


def in_force(resources: Resources, text: str) -> ApiKey | None:
    """The key with this text, if it is neither revoked nor expired; None for every other text, whatever is wrong with it.

    Asks Postgres each time, so that a revocation takes effect at once. What cannot be a key costs no query.
    """
    if not (named := _KEY.fullmatch(text)):
        return None
    with resources.database.control() as connection:
        rows = connection.execute(_SQL["in_force"], {"key": named[1]}).fetchall()
    found = [row for row in rows if hmac.compare_digest(row.pop("digest"), _digest(text))]
    return convert(found[0], ApiKey) if found else None


def _digest(text: str) -> bytes:
    return sha256(text.encode()).digest()


_SQL = statements("pipelines.governance", "sql/api_keys.sql")
