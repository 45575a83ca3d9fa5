"""Finders of e-mail addresses, and of user names and passwords in URLs.

Presidio's e-mail pattern is not used: it accepts `/`, `?` and `=` (so it swallows a whole URL that contains an address, with a different
surrogate), misses addresses under domains outside the public suffix list, and downloads that list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from privacy.finders.context import Finding, Text

# the local part is matched backwards from the @, which is linear; RFC 5321 allows 64 characters, mailers write more
_LONGEST_LOCAL = 256
_LOCAL_BACKWARDS = re.compile(r"[\w.+%'~!#$*-]*[^\W_]|\"[^\"\n@]{1,64}\"")

_LABEL = r"[^\W_](?:[\w-]{0,61}[^\W_])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.){{1,8}}(?:xn--[a-z0-9-]{{1,59}}|[^\W\d_][^\W_-]{{1,62}})", re.IGNORECASE)

_AT = r"(?: ?[\[({] ?at ?[\])}] ?)"
_DOT = r"(?:\.| ?[\[({] ?dot ?[\])}] ?)"
_SPELT = rf"[^\W_][\w.+-]{{0,63}}{_AT}[\w-]{{1,63}}(?:{_DOT}[\w-]{{1,63}}){{1,8}}"
_IN_BRACKETS = r"(?<=<)[^\W_][\w.+-]{0,63} at [\w-]{1,63}(?:(?:\.| dot )[\w-]{1,63}){1,8}(?=>)"

_OBFUSCATED = re.compile(rf"(?<![\w.+-])(?:{_SPELT}|{_IN_BRACKETS})", re.IGNORECASE)
_USERINFO = re.compile(r"(?<=://)[^\s/?#,<>\"\uFFFC]{1,256}(?=@)")


class Emails:
    """`Finder` of e-mail addresses."""

    labels = frozenset({"EMAIL"})
    needs = re.compile("@")

    def find(self, text: Text) -> Iterator[Finding]:
        end = 0
        for at in self.needs.finditer(text.folded):
            domain = _DOMAIN.match(text.folded, at.end())
            # an address does not begin before the previous one ends: neither in `a@x.org#b@y.org` may lose its half
            backwards = text.folded[max(end, at.start() - _LONGEST_LOCAL) : at.start()][::-1]
            local = _LOCAL_BACKWARDS.match(backwards) if domain else None
            # of two joined addresses (`a@x.orgb@y.org`) the second has no local part left, but is an address too
            if domain and (local or at.start() == end > 0):
                end = domain.end()
                yield Finding(at.start() - (local.end() if local else 0), end, "EMAIL", 0.95)


class SpeltEmails:
    """`Finder` of spelt-out addresses: `bob [at] example [dot] com`, and `<bob at example.com>` as in mailing-list archives."""

    labels = frozenset({"EMAIL"})
    needs = re.compile(r"[\[({] ?at ?[\])}]|<[^<>@]{1,80} at ", re.IGNORECASE)

    def find(self, text: Text) -> Iterator[Finding]:
        for match in _OBFUSCATED.finditer(text.folded):
            yield Finding(match.start(), match.end(), "EMAIL", 0.9)


class Credentials:
    """`Finder` of the user and password in a URL (RFC 3986 userinfo). Outranks e-mail, so that the host stays."""

    labels = frozenset({"CREDENTIAL"})
    needs = re.compile(r"://[^\s/]{1,256}@")

    def find(self, text: Text) -> Iterator[Finding]:
        for match in _USERINFO.finditer(text.folded):
            yield Finding(match.start(), match.end(), "CREDENTIAL", 1.0)
