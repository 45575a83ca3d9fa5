"""The keys of graph nodes. The same thing has the same key in every document. Nothing here reads running text.

A key is `KIND:normal form`, or `document:<name>` for a document that is referred to by its name. Keys are bounded, because Neo4j refuses
an index entry beyond about 8 kB: a longer key keeps its beginning and ends in a digest of the whole.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from urllib.parse import SplitResult, unquote, urljoin, urlsplit, urlunsplit

KEY_CHARACTERS = 512
TITLE_CHARACTERS = 256
DOCUMENT = "document:"

_DIGEST_CHARACTERS = 32
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_DEFAULT_PORTS = {"http": 80, "https": 443}


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
    return bounded(f"{DOCUMENT}{name}")


def kind_and_name(key: str) -> tuple[str, str]:
    """The parts of an entity's key: `("ORG", "acme corp")`, `("DOCUMENT", "a.md")`."""
    kind, _, name = key.partition(":")
    return kind.upper(), name


def reference_key(series: str, number: str) -> str:
    """`PEP 8`, `PEP-8` and `pep-0008` are the same reference."""
    return entity_key("REFERENCE", f"{series} {int(number)}")


def url_key(url: str) -> str | None:
    """The key of an http(s) address, None for anything else.

    Normalised as in RFC 3986, section 6.2: scheme and host in lower case, no fragment, default port or user information. The path keeps its
    case.
    """
    parts = _split(url)
    if parts is None or parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        return None
    try:
        port = parts.port
    except ValueError:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    place = host if port in (None, _DEFAULT_PORTS[parts.scheme]) else f"{host}:{port}"
    return bounded(f"URL:{urlunsplit((parts.scheme, place, parts.path or '/', parts.query, ''))}")


def link_key(name: str, target: str) -> str | None:
    """The key of a link's target in the document `name`: `URL:…`, `document:…`, or None (the document itself, mail, scripts, invalid).

    A relative target is resolved against the document's name, as a browser resolves it against an address.
    """
    target = target.strip()
    if not target or target.startswith("#"):
        return None
    if target.startswith("//"):
        target = f"https:{target}"
    if _SCHEME.match(target):
        return url_key(target)
    if url_key(name):
        return url_key(_joined(name, target))
    path = _resolved(name, target)
    return document_key(path) if path and path != name else None


def _split(url: str) -> SplitResult | None:
    try:
        return urlsplit(url)
    except ValueError:
        return None


def _joined(base: str, target: str) -> str:
    try:
        return urljoin(base, target)
    except ValueError:
        return ""


def _resolved(name: str, target: str) -> str:
    """`../b.md#x` in `docs/a.md` is `b.md`. Steps above the root are dropped (RFC 3986, section 5.2.4), and so is a leading slash."""
    path = unquote(re.split(r"[?#]", target, maxsplit=1)[0])
    if not path:
        return ""
    joined = posixpath.join("/", posixpath.dirname(name), path)
    return posixpath.normpath(joined).lstrip("/")
