"""The canonical form of ids, addresses and link targets: one spelling for each document, whoever wrote it and however.

It is a URL (`https://wiki.example.com/Überblick`, `s3://bucket/a.md`), or a path (`docs/a.md`, `jira:ABC-1`). A file without a host is a
path too: `/srv/a.md`, `file:///srv/a.md` and `srv/a.md` are one, and so are `C:\\a.md` and `file:///c:/a.md`.

ada-url parses and joins for every scheme, as browsers do (WHATWG: IDNA, default ports, dot segments, backslashes, drives). It leaves
escapes as they are; here, what means the same unescaped is unescaped (RFC 3986, 6.2.2.2) and in NFC, so that people can read the keys.
Beyond both standards, a run of slashes is one slash, and a slash at the end of a path is none. In an id, `#` is a character; in a path, so
is a `?` without a `=` after it (`What is a lien?.md`). Credentials are left out, surrogates stay whole, and no text raises.
"""

from __future__ import annotations

import re
import unicodedata
from importlib.metadata import version
from urllib.parse import quote, unquote_to_bytes

from ada_url import URL

from core.entities import ENTITIES
from core.surrogates import TOKEN

REVISION = f"1 ada-url {version('ada-url')}"
"""Changes whenever a canonical form may change."""

CHARACTERS = 8192
"""A longer text is its own canonical form: nobody writes such an address twice, and its normalization takes time in its square."""

# of a URL; a colon that no slash follows is a part of an id (`jira:ABC-1`, `Help:Contents`), and one letter before it is a drive
_SCHEME = re.compile(r"((?i:https?|ftp|wss?|file)(?=:)|[A-Za-z][A-Za-z0-9+.-]+(?=:/)):")
_PREFIX = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_AUTHORITY = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]+:)?//[^/]*")
_CREDENTIALS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+:)(?:[\\/]*[^/?#\\]*@)+")

# WHATWG's special schemes, whose backslashes are slashes
_SPECIAL = {"http", "https", "ftp", "ws", "wss", "file"}
# Azure's schemes, whose user is a container
_CONTAINERS = {"abfs:", "abfss:", "wasb:", "wasbs:"}
_NO_DOCUMENT = {"about", "blob", "callto", "cid", "data", "facetime", "geo", "javascript", "jdbc", "mailto", "mid", "sip", "sips", "skype"}
_NO_DOCUMENT |= {"sms", "tel", "vbscript", "xmpp"}

_TRIMMED = "".join(map(chr, range(0x21)))
_REMOVED = str.maketrans("", "", "\t\n\r")

# what stays escaped because it would mean something else; a lone surrogate is a byte that is no UTF-8
_OPAQUE = r"\x00-\x1f\x7f\ud800-\udfff"
_KEPT_IN_PATH = re.compile(rf"[%/?#\\{_OPAQUE}]")
_KEPT_IN_QUERY = re.compile(rf"[%&=+;#{_OPAQUE}]")
# WHATWG's forbidden host code points
_KEPT_IN_HOST = re.compile(rf"[ %/?#@:<>|^\[\]\\{_OPAQUE}]")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]*")
_QUERY_PART = re.compile(r"[^?&=+;]+")
# what a parser takes for a fragment's start or removes, and is a character of an id
_LITERAL = re.compile(r"[\x00-\x20\x7f#]")

# a host has no angle brackets
_TOKEN_IN_HOST = re.compile(rf"__({'|'.join(ENTITIES).lower()})__([0-9a-f]+)?__")


def name(text: str) -> str:
    """The canonical form of an id. An invalid URL is itself, in NFC and without credentials."""
    if canonical := _canonical(_as_url(text)):
        return canonical
    credentials = _CREDENTIALS.match(text)
    return name(f"{credentials[1]}//{text[credentials.end() :]}") if credentials else _composed(text)


def address(text: str) -> str | None:
    """The canonical form of where a document is, without a URL's fragment. None if there is no address, or an invalid one."""
    return _canonical(_as_url(_without_fragment(text))) if text else None


def target(base: str, text: str) -> str | None:
    """The canonical form of what a link points to in a document whose id or address is `base`, without fragment.

    None if that is no other document (mail, a script, a place in the same document), or invalid. A prefix with a colon is absolute.
    """
    text = text.translate(_REMOVED).strip(_TRIMMED).partition("#")[0]
    prefix = _PREFIX.match(text)
    if not text or (prefix and prefix[1].lower() in _NO_DOCUMENT):
        return None
    if _DRIVE.match(text) or text.startswith("\\\\") or (prefix and len(prefix[1]) > 1):
        return _canonical(_as_url(text))
    if text.startswith("//") and base[:5].lower() != "http:":
        return _canonical(f"https:{text}")
    base = _as_url(_without_fragment(base))
    return _canonical(f"./{text}" if prefix else text, _tidied(base, base))


def is_url(canonical: str) -> bool:
    """Whether a canonical form is a URL and not a path."""
    return _SCHEME.match(canonical) is not None


def _without_fragment(text: str) -> str:
    return text.partition("#")[0] if _SCHEME.match(text) else text


def _as_url(text: str) -> str:
    """An id or address as a URL; those without a scheme are files."""
    literal = _LITERAL.sub(lambda match: quote(match[0]), text)
    if text.startswith("\\\\"):
        return f"file:{literal}"
    return literal if _SCHEME.match(text) else "file:///" + literal.lstrip("/\\")


def _canonical(text: str, base: str | None = None) -> str | None:
    if len(text) > CHARACTERS:
        return None
    try:
        url = URL(_tidied(text, base or text), base)
    except ValueError:
        return None
    path = "/".join(_unescaped(segment, _KEPT_IN_PATH) for segment in url.pathname.rstrip("/").split("/")) or "/"
    query = _QUERY_PART.sub(lambda match: _unescaped(match[0], _KEPT_IN_QUERY), url.search)
    if url.protocol == "file:":
        return _file(_host(url), path, query)
    slashes = "//" if url.href.startswith(f"{url.protocol}//") else ""
    container = f"{_unescaped(url.username, _KEPT_IN_HOST)}@" if url.username and url.protocol in _CONTAINERS else ""
    return f"{url.protocol}{slashes}{container}{_host(url)}{path}{query}"


def _tidied(text: str, base: str) -> str:
    """Slashes for backslashes, one slash for a run of slashes, tokens in the host without brackets: before dot segments are removed."""
    if base[:5].lower() == "file:" and "=" not in text.partition("?")[2]:
        text = text.replace("?", "%3F")
    place, mark, query = text.partition("?")
    scheme = _SCHEME.match(place)
    if not scheme or scheme[1].lower() in _SPECIAL:
        place = place.replace("\\", "/")
    authority = _AUTHORITY.match(place)
    start = authority.end() if authority else 0
    host = TOKEN.sub(lambda token: f"__{token[1].lower()}__{token[2] or ''}__", place[:start])
    return host + re.sub("//+", "/", place[start:]) + mark + query


def _file(host: str, path: str, query: str) -> str:
    if host:
        return f"file://{host}{path}{query}"
    path = path.removeprefix("/") or "/"
    if _DRIVE.match(f"{path}/"):
        path = path[0].upper() + path[1:]
    return (path.replace(":", "%3A", 1) if _SCHEME.match(path) else path) + query


def _host(url: URL) -> str:
    """Host and port. ada-url has done this for domains and IP addresses, not for the hosts of other schemes."""
    host = url.hostname if url.hostname.startswith("[") else _unescaped(_unescaped(url.hostname, _KEPT_IN_HOST).lower(), _KEPT_IN_HOST)
    named = _TOKEN_IN_HOST.sub(lambda found: f"<{found[1].upper()}{':' + found[2] if found[2] else ''}>", host)
    return f"{named}:{url.port}" if url.port else named


def _unescaped(text: str, kept: re.Pattern[str]) -> str:
    """A part of a URL in NFC, in which only `kept` characters and what is no UTF-8 are escaped."""
    if _UNRESERVED.fullmatch(text):
        return text
    plain = unquote_to_bytes(text).decode("utf-8", "surrogateescape")
    return kept.sub(lambda match: quote(match[0], safe="", errors="surrogateescape"), _composed(plain))


def _composed(text: str) -> str:
    """In NFC, but for surrogates: a combining stroke after one would become a part of its bracket."""
    if text.isascii() or len(text) > CHARACTERS:
        return text
    parts: list[str] = []
    done = 0
    for token in TOKEN.finditer(text):
        parts += (unicodedata.normalize("NFC", text[done : token.start()]), token[0])
        done = token.end()
    return "".join((*parts, unicodedata.normalize("NFC", text[done:])))
