"""The keys of graph nodes. The same thing has the same key in every document. Nothing here reads running text.

A key is `KIND:normal form`, or `document:<name>` for a document that is referred to by its name. Names and addresses are in their
canonical form (`graph.canonical`). Keys are bounded, because Neo4j refuses an index entry beyond about 8 kB: a longer key keeps its
beginning and ends in a digest of the whole.
"""

from __future__ import annotations

import hashlib

from graph import canonical

KEY_CHARACTERS = 512
TITLE_CHARACTERS = 256
DOCUMENT = "document:"

_URL = "URL:"
_DIGEST_CHARACTERS = 32


def bounded(key: str) -> str:
    """The key in at most 512 characters (2 kB of UTF-8). Distinct long keys stay distinct; the function is idempotent."""
    if len(key) <= KEY_CHARACTERS:
        return key
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_CHARACTERS]
    return f"{key[: KEY_CHARACTERS - _DIGEST_CHARACTERS - 1]}~{digest}"


def shortened(title: str) -> str:
    """A title or heading for display, in at most 256 characters."""
    return title if len(title) <= TITLE_CHARACTERS else f"{title[: TITLE_CHARACTERS - 1]}…"


def entity_key(kind: str, name: str) -> str:
    """`ORG:acme corp`: case and white space do not distinguish entities."""
    return bounded(f"{kind}:{' '.join(name.casefold().split())}")


def document_key(name: str) -> str:
    """The key of a document's name, whether or not the document exists."""
    return plain_key(canonical.name(name))


def plain_key(name: str) -> str:
    """The key of a document's name that is canonical already."""
    return bounded(f"{DOCUMENT}{name}")


def kind_and_name(key: str) -> tuple[str, str]:
    """The parts of an entity's key: `("ORG", "acme corp")`, `("DOCUMENT", "a.md")`."""
    kind, _, name = key.partition(":")
    return kind.upper(), name


def reference_key(series: str, number: str) -> str:
    """`PEP 8`, `PEP-8` and `pep-0008` are the same reference."""
    return entity_key("REFERENCE", f"{series} {int(number)}")


def address_key(address: str) -> str | None:
    """The key of where a document is: `URL:…`, or `document:…` for a path. None if there is no valid address."""
    return _key(canonical.address(address))


def link_key(base: str, target: str) -> str | None:
    """The key of what a link points to in a document whose id or address is `base`. None if that is no other document, or invalid."""
    return _key(canonical.target(base, target))


def _key(form: str | None) -> str | None:
    return bounded(f"{_URL if canonical.is_url(form) else DOCUMENT}{form}") if form else None
