"""Terms: what lexical search matches, cut from a text in the same way for passages and for questions.

Postgres' own parser tears identifiers (`IL-2` into `il` and `-2`) and joins others (`bm25/okapi` is one file name). So a text is cut here,
and Postgres gives the stems of its words: `headrace.stems`, by language.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

import msgspec
import regex

LONGEST = 128
"""The longest term, in characters: a longer run is not kept as a name, and a longer word is cut."""


class Terms(msgspec.Struct, frozen=True):
    """The terms of a text, folded (NFKC, lower case), in the text's order, with repetitions.

    `words` are to be stemmed. `names` are matched as they stand, beside their words: `cve-2024-3094`, `wg-quick`, `/etc/hosts`, `c++`.
    `pairs`: of characters in scripts that put no spaces between words, with single Han characters.
    """

    words: tuple[str, ...]
    names: tuple[str, ...]
    pairs: tuple[str, ...]


def terms(text: str) -> Terms:
    """The terms of a text. Never raises for a `str`."""
    words: list[str] = []
    names: list[str] = []
    pairs: list[str] = []
    for run in _runs(text):
        if run.isascii() and run.isalnum():
            words.append(run[:LONGEST])
        else:
            cut = _cut(run) if len(run) <= LONGEST else _cut.__wrapped__(run)
            words.extend(cut.words)
            names.extend(cut.names)
            pairs.extend(cut.pairs)
    return Terms(tuple(words), tuple(names), tuple(pairs))


def _runs(text: str) -> list[str]:
    """The folded runs of characters without spaces and control characters."""
    # most text is, and the general expression takes three times as long
    return _ASCII_RUN.findall(text.lower()) if text.isascii() else RUN.findall(unicodedata.normalize("NFKC", text).lower())


@lru_cache(65_536)  # the same few runs make most of any text
def _cut(run: str) -> Terms:
    """The terms of a run of characters without spaces."""
    words = tuple(word[:LONGEST] for word in _WORD.findall(run))
    pairs = tuple(pair for unspaced in _UNSPACED_RUN.findall(run) for pair in _pairs(unspaced))
    return Terms(words, tuple(_names(run)), pairs)


_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}ー々"
RUN = regex.compile(r"[^\p{Z}\p{C}]+")
"""Characters without spaces and control characters between them."""
_ASCII_RUN = re.compile(r"[!-~]+")
_WORD = regex.compile(rf"[[\p{{L}}\p{{N}}]--[{_UNSPACED}]][[\p{{L}}\p{{N}}\p{{M}}]--[{_UNSPACED}]]*", regex.V1)
_UNSPACED_RUN = regex.compile(rf"[{_UNSPACED}][{_UNSPACED}\p{{M}}]*")
_HAN = regex.compile(r"\p{Han}")
# a name's ends are letters or digits, but for the signs that belong to it: C++, F#, .NET, /etc, ~/x, $HOME, --force, @scope
_NAME = regex.compile(r"(?:[.~/$@#]|--?)?[\p{L}\p{N}](?:.*[\p{L}\p{N}\p{M}])?(?:\+{1,2}|#)?")
# what separates the names of a longer one: the file name of a path, the value of an assignment
_PARTS = regex.compile(r"[/\\,;:|()<>\[\]{}\"'=@&?!]+")


def _names(run: str) -> list[str]:
    found = (name for part in (run, *_PARTS.split(run)) for name in _NAME.findall(part))
    return [name for name in dict.fromkeys(found) if len(name) <= LONGEST and not _WORD.fullmatch(name) and not _UNSPACED_RUN.search(name)]


def _pairs(run: str) -> Iterator[str]:
    yield from (run[at : at + 2] for at in range(len(run) - 1))
    yield from (character for character in run if len(run) == 1 or _HAN.match(character))
