"""Ids in one spelling, and the keyed digests that stand for ids and contents in Postgres: without the key they disclose nothing."""

from __future__ import annotations

from unicodedata import normalize

from core.keys import TenantKeys


def canonical(name: str) -> str:
    """An id in Unicode's NFC, so that `Überblick` is one document, whether a system composes its letters or, as macOS, decomposes them."""
    return normalize("NFC", name)


def canonical_key(key: bytes) -> bytes:
    """A record's key in NFC; itself if it is not UTF-8."""
    try:
        return canonical(key.decode()).encode()
    except UnicodeDecodeError:
        return key


def document_key(name: str, keys: TenantKeys) -> str:
    """A document's key in Postgres: a keyed digest of its id, because an id may carry a person's name."""
    return _digest(canonical(name), keys)


def former_keys(name: str, keys: TenantKeys) -> tuple[str, ...]:
    """The other keys that an id may have had before ids were normalised: that of this spelling, and of the decomposed one."""
    spellings = () if name.isascii() else {name, normalize("NFD", name)} - {canonical(name)}
    return tuple(sorted(_digest(spelling, keys) for spelling in spellings))


def _digest(name: str, keys: TenantKeys) -> str:
    return keys.digest(name.encode("utf-8", "surrogatepass"), "document")


def content_key(keys: TenantKeys, content: bytes, media_type: str, file_name: str) -> str:
    """The digest of a content and of the type and file name that a parser gets with it."""
    return keys.digest(content + f"\0{media_type}\0{file_name}".encode("utf-8", "surrogatepass"), "content")
