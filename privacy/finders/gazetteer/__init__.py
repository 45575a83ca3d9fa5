"""Lists of given names, surnames and places, and the look-up of a text's words in them. The rules are in `people` and `places`.

Each list states its source. A name that is also an ordinary word (marked ` *`) counts only with further evidence.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib.resources import files
from typing import NamedTuple

# without a possessive's s
WORD = re.compile(r"[^\W\d_]+(?:[-'’](?!s(?![^\W_]))[^\W\d_]+)*", re.IGNORECASE)


def vocabulary(text: str) -> frozenset[str]:
    """The words of a list written as a text."""
    return frozenset(text.split())


# English function words; never a name in a text without capitals
FUNCTION_WORDS = vocabulary(
    "a about above after again all also am an and any are as at be because been before being below between both but by can "
    "could did do does down during each either else even ever every few first for from further get go had has have having he "
    "her here hers him his how however i if in into is it its itself just last let like made make many may me might more most "
    "much must my near next no nor not now of off on once one only onto or other our ours out over own per please said same "
    "say says see shall she should since so some still such than that the their theirs them then there these they this those "
    "through to too two under until up upon us use very was way we well were what when where whether which while who whom "
    "whose why will with within without would yes yet you your yours am pm today tomorrow yesterday tonight hello hi dear "
    "thanks thank sorry mr mrs ms miss dr sir madam i'm i've i'd it's he's she's that's there's don't doesn't can't won't "
    "didn't isn't aren't wasn't weren't couldn't wouldn't shouldn't let's you're they're we're here's what's who's "
)


class Gazetteer(NamedTuple):
    """Names by their `key`. `sure`: the names that are not ordinary words."""

    names: frozenset[str]
    sure: frozenset[str]


class Token(NamedTuple):
    """A word at `[start, end)`. `name`: it may be a name, because of its capital or, in a text without capitals, as no function word."""

    start: int
    end: int
    text: str
    key: str
    name: bool


@cache
def given_names() -> Gazetteer:
    return _read("given_names.txt")


@cache
def surnames() -> Gazetteer:
    return _read("surnames.txt")


@cache
def places() -> Gazetteer:
    return _read("places.txt")


def key(text: str) -> str:
    """The text in lower case without accents."""
    text = text.casefold()
    return text if text.isascii() else "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))


@lru_cache(maxsize=1)
def words_of(text: str) -> tuple[Token, ...]:
    """The words of a whole text. Cached until the next text, because several finders read each text."""
    return tuple(tokens(text, has_capitals(text)))


def tokens(text: str, with_capitals: bool) -> Iterator[Token]:
    """The words of a piece of text in order. `with_capitals`: whether the whole text marks names by capitals."""
    for match in WORD.finditer(text):
        word, low = match.group(), key(match.group())
        named = word[0].isupper() if with_capitals else low not in FUNCTION_WORDS
        yield Token(match.start(), match.end(), word, low, named)


def has_capitals(text: str) -> bool:
    """Whether a text may mark names by capitals: False if it has letters but no capital."""
    return not text.islower()


def _read(name: str) -> Gazetteer:
    lines = files(__package__).joinpath(name).read_text(encoding="utf-8").splitlines()
    entries = [line for line in lines if not line.startswith("#")]
    return Gazetteer(frozenset(line.removesuffix(" *") for line in entries), frozenset(line for line in entries if not line.endswith(" *")))
