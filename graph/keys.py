"""The stable names of graph nodes. The same thing has the same key, whichever document speaks of it; nothing here reads text.

A key is `KIND:normal form`, or `document:<name>` for a document that is referred to by its name. It is bounded, because Neo4j refuses
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
    """At most 512 characters (2 kB of UTF-8); different long keys stay different. Bounding twice changes nothing."""
    if len(key) <= KEY_CHARACTERS:
        return key
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_CHARACTERS]
    return f"{key[: KEY_CHARACTERS - _DIGEST_CHARACTERS - 1]}~{digest}"


def shortened(title: str) -> str:
    """A title or heading to show: at most 256 characters."""
    return title if len(title) <= TITLE_CHARACTERS else f"{title[: TITLE_CHARACTERS - 1]}…"


def entity_key(kind: str, name: str) -> str:
    """`ORG:acme corp`: case and white space do not tell entities apart."""
    return bounded(f"{kind}:{' '.join(name.casefold().split())}")


def document_key(name: str) -> str:
    """The key of a document's name, whether or not such a document exists (yet)."""
    return bounded(f"{DOCUMENT}{name}")


def kind_and_name(key: str) -> tuple[str, str]:
    """What a key says of its entity: `("ORG", "acme corp")`; `("DOCUMENT", "a.md")` for a document's name."""
    kind, _, name = key.partition(":")
    return kind.upper(), name


def reference_key(series: str, number: str) -> str:
    """`PEP 8`, `PEP-8` and `pep-0008` are the same reference."""
    return entity_key("REFERENCE", f"{series} {int(number)}")


def url_key(url: str) -> str | None:
    """The key of an http(s) address, None for anything else.

    Scheme and host in lower case, no fragment, no default port, no user information (RFC 3986, 6.2); the path keeps its case.
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
    """What a link in the document `name` points to: a `URL:` key, a `document:` key, or None (itself, mail, scripts, nonsense).

    A relative target is resolved against the document's own name, as a browser resolves it against an address.
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
    """`../b.md#x` in `docs/a.md` is `b.md`; steps above the root are dropped (RFC 3986, 5.2.4), and so is a leading slash."""
    path = unquote(re.split(r"[?#]", target, maxsplit=1)[0])
    if not path:
        return ""
    joined = posixpath.join("/", posixpath.dirname(name), path)
    return posixpath.normpath(joined).lstrip("/")
