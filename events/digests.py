"""What stands inside for what an event says: keyed digests, which tell nothing to whoever has not the tenant's key."""

from __future__ import annotations

from core.keys import TenantKeys


def document_key(name: str, keys: TenantKeys) -> str:
    """How a document is called inside: a keyed digest of its id, because an id may carry a person's name."""
    return keys.digest(name.encode("utf-8", "surrogatepass"), "document")


def content_key(keys: TenantKeys, content: bytes, media_type: str, file_name: str) -> str:
    """The digest of a content, and of what a parser is told about it."""
    return keys.digest(content + f"\0{media_type}\0{file_name}".encode("utf-8", "surrogatepass"), "content")
