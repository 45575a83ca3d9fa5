"""Finders of secrets: private keys, keys and tokens of cloud services, and values after words such as password or token.

Users and passwords in URLs are in `privacy.finders.addresses`. The prefixes are those that issuers publish for secret scanners.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from math import log2

from privacy.finders.context import AnyOf, Finding, Text, cues

_BEGIN_KEY = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_END_KEY = re.compile(r"-----END (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_LONGEST_KEY = 16_384
_KEY_BODY = re.compile(r"[A-Za-z0-9+/=\s\\:,.\-]*")

_ISSUED = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}(?![A-Za-z0-9])"  # AWS access key ids
    r"|gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_\w{22,255}"
    r"|glpat-[\w-]{20,64}"
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,255}"  # Slack
    r"|AIza[\w-]{35}(?![\w-])|ya29\.[\w-]{20,512}"  # Google
    r"|[rs]k_(?:live|test)_[A-Za-z0-9]{16,255}"  # Stripe
    r"|SG\.[\w-]{16,64}\.[\w-]{16,64}"  # SendGrid
    r"|npm_[A-Za-z0-9]{36}|pypi-[\w-]{50,255}|hf_[A-Za-z0-9]{30,64}|sk-(?:ant-|proj-)?[\w-]{20,255}"
    r"|eyJ[\w-]{10,2000}\.eyJ[\w-]{10,4000}\.[\w-]{10,2000}"  # JSON Web Tokens, RFC 7519
    r")"
)

_NAMED = re.compile(
    r"(?P<word>pass(?:word|wd|phrase|code)|pwd|secret|token|(?:api|access|account|private|auth)[ _-]?key|credential|bearer|authorization)s?"
    r"[\"'\]]{0,2}(?: ?(?::|=|=>|:=|is|was)[ \n]?| (?=[A-Za-z0-9+/_=.~-]{20}))(?:bearer |basic )?[\"'`]?"
    r"(?P<value>[^\s\"'`<>(){}\[\],;\uFFFC]{6,512})",
    re.IGNORECASE,
)
_KEYLIKE = re.compile(r"[A-Za-z0-9+/_=.~:$!@#%^&*?-]+")
_DIGIT, _LETTER, _SIGN = re.compile(r"\d"), re.compile(r"[A-Za-z]"), re.compile(r"[!@#$%^&*?~+=]")
# bits for each character: random base64 has 6; in 16 to 40 characters hexadecimal has 3.2 or more, words and dotted names fewer
_RANDOM_BITS = 3.2


class PrivateKeys:
    """`Finder` of whole PEM and PGP private keys, and of truncated ones as far as they look like a key."""

    labels = frozenset({"SECRET"})
    needs = _BEGIN_KEY

    def find(self, text: Text) -> Iterator[Finding]:
        done = 0
        for begin in _BEGIN_KEY.finditer(text.folded):
            if begin.start() < done:
                continue
            end = _END_KEY.search(text.folded, begin.end(), begin.end() + _LONGEST_KEY)
            body = _KEY_BODY.match(text.folded, begin.end(), begin.end() + _LONGEST_KEY)
            done = end.end() if end else body.end() if body else begin.end()
            yield Finding(begin.start(), done, "SECRET", 1.0)


class IssuedTokens:
    """`Finder` of keys and tokens by their issuer's prefix."""

    labels = frozenset({"SECRET"})
    needs = AnyOf(
        "akia", "asia", "abia", "acca", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox", "aiza", "ya29.", "k_live_",
        "k_test_", "sg.", "npm_", "pypi-", "hf_", "sk-", "eyj",
    )  # fmt: skip

    def find(self, text: Text) -> Iterator[Finding]:
        for match in _ISSUED.finditer(text.folded):
            if _DIGIT.search(match.group()) or match.group().isupper():
                yield Finding(match.start(), match.end(), "SECRET", 0.97)


class NamedSecrets:
    """`Finder` of values after `password:`, `api_key =` and the like that look chosen or random, not like a word or code."""

    labels = frozenset({"SECRET"})
    needs = AnyOf("passw", "passp", "passcode", "pwd", "secret", "token", "key", "credential", "bearer", "authorization")

    def find(self, text: Text) -> Iterator[Finding]:
        for match in _NAMED.finditer(text.folded):
            value = match["value"].rstrip(".:?!") if not _SIGN.search(match["value"][:-1]) else match["value"].rstrip(".:")
            chosen = match["word"][:2].lower() in ("pa", "pw")
            if _chosen(value) if chosen else _random(value):
                yield Finding(match.start("value"), match.start("value") + len(value), "SECRET", 0.9)


class LabelledSecrets:
    """`Finder` of whole cells and properties whose header or key announces a secret."""

    labels = frozenset({"SECRET"})
    needs = re.compile(r"\S{6}")

    def find(self, text: Text) -> Iterator[Finding]:
        value = text.folded.strip()
        if (text.hints & _PASSWORD_LABELS and _chosen(value)) or (text.hints & _SECRET_LABELS and _random(value)):
            start = text.folded.index(value)
            yield Finding(start, start + len(value), "SECRET", 0.9)


_PASSWORD_LABELS = cues("password", "passwd", "passphrase", "pwd")
_SECRET_LABELS = cues("secret", "token", "apikey", "credential")


def _chosen(value: str) -> bool:
    """Whether it looks like a password that people choose: letters with digits or signs, but no path, call or e-mail address."""
    if not (6 <= len(value) <= 128 and _KEYLIKE.fullmatch(value)) or "." in value.strip("."):
        return False
    return bool(_LETTER.search(value)) and bool(_DIGIT.search(value) or _SIGN.search(value.strip("*=$")))


def _random(value: str) -> bool:
    """Whether it looks random: at least sixteen letters and digits, with the entropy of random characters."""
    if len(value) < 16 or not _KEYLIKE.fullmatch(value) or not _DIGIT.search(value) or not _LETTER.search(value):
        return False
    return _bits(value) >= _RANDOM_BITS


def _bits(value: str) -> float:
    """The Shannon entropy of the characters, in bits for each character."""
    return -sum(times / len(value) * log2(times / len(value)) for times in Counter(value).values())
