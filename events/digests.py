"""Keyed digests that stand for ids and contents in Postgres. Without the tenant's key they disclose nothing."""

from __future__ import annotations

from core.keys import TenantKeys


def document_key(name: str, keys: TenantKeys) -> str:
    """A document's key in Postgres: a keyed digest of its id, because an id may carry a person's name."""
    return keys.digest(name.encode("utf-8", "surrogatepass"), "document")


def content_key(keys: TenantKeys, content: bytes, media_type: str, file_name: str) -> str:
    """The digest of a content and of the type and file name that a parser gets with it."""
    return keys.digest(content + f"\0{media_type}\0{file_name}".encode("utf-8", "surrogatepass"), "content")
