"""The second detector's other half: what may be the name of a person or a place, told by how these texts use a word.

Another method than redaction's, which has lists of names and a language model: here a name is a capitalised word that neither these texts
nor `words.txt` write small, and that does not stand all over, and what is said around it. No list is shared with redaction.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from quality.residual.marks import GONE, GONE_NAME, Suspect


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_WORD = re.compile(rf"[{GONE}{GONE_NAME}]|[^\W\d_]{{1,40}}(?:['’-][^\W\d_]{{1,40}}){{0,4}}\.?")
_TITLES = _set("mr mrs ms miss dr prof herr herrn frau mme signor signora señor señora named called name surname")
_LABELS = _set("name names where place city town address contact from to customer patient client author location by attn")
_PARTICLES = _set("van von der den de del della di da dos du la le al bin ibn el ter zu y")
_PERSON_BEFORE = _TITLES | _set(
    "mx professor sir madam dear hi hello hey dearest regards sincerely cheers thanks yours names contact attn attention signed born "
    "married patient customer client employee nurse doctor judge captain sergeant president senator minister author authors am i'm this"
)
_PERSON_AFTER = _set("said says wrote writes lives works worked born joined called asked told replied jr phd md")
_PLACE_BEFORE = _set("in at near from to lives live living lived based city town village visit visiting via outside")
_PLACE_AFTER = _set(
    "street st road rd avenue ave lane drive boulevard blvd square terrace court river lake island islands county city town village valley "
    "hill mountain mountains bay beach park bridge station airport castle district province"
)
_FIRM = _set("inc ltd llc gmbh corp corporation company bank group plc ag co university institute foundation association")
# written large without being names
_LARGE = _set(
    "monday tuesday wednesday thursday friday saturday sunday january february march april may june july august september october "
    "november december mr mrs ms miss mx dr prof sir madam st rd ave hi hey ok okay yeah dear english french german spanish italian "
    "dutch polish american british european chinese japanese greek latin catholic muslim christian islamic god internet minister secretary "
    "president congress congressman senator senate parliament governor speaker king queen prince emperor admiral general colonel captain "
    "department ministry committee council commission party court university bank north south east west northern southern eastern western"
)

# German writes every noun with a capital: two of these tell it
_GERMAN = _set("und der die das den dem des ein eine einen einer nicht mit ist sind für auf im von wird werden zu bei nach auch")

_BEGINS = re.compile(r"(?:^|[.!?:;\n\"“”(\[•*#|>-])\s{0,4}$")
_NEAR = ("", " ", "  ", ", ")
_CODE = frozenset("`_/\\=<>[]{}@#$%")
_TAIL = re.compile(r"[-'’.].*")
_CONTRACTED = re.compile("n['’]t$|['’](?:ll|re|ve|m|d)$", re.IGNORECASE)
_PREFIX = re.compile(r"^(?:Ma?c|De|Di|La|Le|Fitz)(?=[A-Z])")

# of peoples (Australian, Japanese), and of words that are bent (connects, composing): few names end so
_PEOPLE = re.compile(r"[^\W\d_]{3,}(?:ian|ean|ese|ican|ish|ic|ism|ist)s?$", re.IGNORECASE)
_BENT = re.compile(r"(?:s|ed|ing|ly|ion|ity|ent|ant|ive|al|ous|ist|or|er|able|ment)$")

_WIDESPREAD, _FEW = 0.05, 5
"""A word that is capitalised in more documents than this share, and than this many, is a term of theirs."""
_MANY = 100
"""Of so many documents a word that stands in one alone is rare."""


@cache
def _dictionary() -> frozenset[str]:
    lines = Path(__file__).with_name("words.txt").read_text(encoding="utf-8").splitlines()
    return _LARGE.union(line for line in lines if not line.startswith("#"))


@dataclass(frozen=True)
class Usage:
    """How a tenant's texts use words: `small` are those that they ever write so, `terms` are capitalised in many documents, and `rare`
    ones stand in a single document of many."""

    small: frozenset[str]
    terms: frozenset[str]
    rare: frozenset[str]

    @classmethod
    def of(cls, documents: Iterable[Sequence[str]]) -> Usage:
        """Learned from documents, each some texts."""
        small: set[str] = set()
        capitalised: Counter[str] = Counter()
        written: Counter[str] = Counter()
        total = 0
        for total, texts in enumerate(documents, 1):  # noqa: B007 - the number of documents
            words = {word[0].rstrip(".") for text in texts for word in _WORD.finditer(text)}
            small.update(filter(str.islower, words))
            capitalised.update({word.lower() for word in words if word[0].isupper()})
            written.update({word.lower() for word in words})
        most = max(_FEW, _WIDESPREAD * total)
        once = [word for word, n in written.items() if n == 1] if total >= _MANY else []
        return cls(frozenset(small), frozenset(word for word, n in capitalised.items() if n > most), frozenset(once))


class _Word(NamedTuple):
    start: int
    end: int
    text: str

    @property
    def plain(self) -> str:
        return self.text.rstrip(".").lower()


_NONE = _Word(0, 0, "")


def names(text: str, usage: Usage) -> Iterator[Suspect]:
    """What may be names in a text as `quality.residual.marks.blanked` gives it."""
    words = [_Word(*hit.span(), hit[0]) for hit in _WORD.finditer(text)]
    yield from _beside(text, words, usage)
    nouns_large = len({word.text for word in words} & _GERMAN) > 1
    for first, last in _runs(text, words):
        titled = not _TITLES.isdisjoint(word.plain for word in words[max(0, first - 1) : last])
        if nouns_large and not titled:
            continue
        odd = sum(_odd(text, word, usage, titled=titled) for word in words[first : last + 1])
        if odd and (kind := _kind(text, words, first, last) or _bare(text, words, first, last, odd)):
            yield Suspect(words[first].start, words[last].end, kind)


def _beside(text: str, words: Sequence[_Word], usage: Usage) -> Iterator[Suspect]:
    """Rare words written small where a name is expected: next to one that was replaced, or after a title."""
    for left, right in pairwise(words):
        if text[left.end : right.start] in _NEAR:
            if (left.text == GONE_NAME or left.plain in _TITLES) and _rare(right, usage):
                yield Suspect(right.start, right.end, "NAME")
            elif right.text == GONE_NAME and _rare(left, usage):
                yield Suspect(left.start, left.end, "NAME")


def _rare(word: _Word, usage: Usage) -> bool:
    if len(word.plain) < 4 or not word.text.islower() or _BENT.search(word.plain):
        return False
    return word.plain in usage.rare and word.plain not in _dictionary()


def _runs(text: str, words: Sequence[_Word]) -> Iterator[tuple[int, int]]:
    """Neighbours that begin with a capital, as (first, last) places among the words; particles count inside."""
    run: list[int] = []
    for at, word in enumerate(words):
        joined = bool(run) and _goes_on(words[at - 1]) and text[words[at - 1].end : word.start] in _NEAR
        if joined and not word.text[0].isupper() and word.plain in _PARTICLES:
            continue
        if run and not (joined and word.text[0].isupper()):
            yield run[0], run[-1]
            run = []
        if word.text[0].isupper():
            run.append(at)
    if run:
        yield run[0], run[-1]


def _goes_on(word: _Word) -> bool:
    """A full stop behind an initial or a title ends no sentence."""
    return not word.text.endswith(".") or len(word.plain) < 4


def _odd(text: str, word: _Word, usage: Usage, *, titled: bool) -> bool:
    """Whether these texts use the word as they use names; behind a title even one that stands in many documents."""
    part = _TAIL.sub("", word.text)
    if len(part) < 3 or not _PREFIX.sub("", part)[1:].islower() or _CONTRACTED.search(word.text) or _in_code(text, word):
        return False
    plain = part.lower()
    if _PEOPLE.match(part) and not titled:
        return False
    return plain not in usage.small and plain not in _dictionary() and (titled or plain not in usage.terms)


def _in_code(text: str, word: _Word) -> bool:
    return text[max(0, word.start - 1) : word.start] in _CODE or text[word.end : word.end + 1] in _CODE | {"("}


def _kind(text: str, words: Sequence[_Word], first: int, last: int) -> str:
    """What the words around a run, and those in it, make of it; empty where they say nothing."""
    before = words[first - 1] if first and text[words[first - 1].end : words[first].start] in _NEAR else _NONE
    after = words[last + 1] if last + 1 < len(words) and text[words[last].end : words[last + 1].start] in _NEAR else _NONE
    inside = {word.plain for word in words[first : last + 1]}
    if (inside | {after.plain}) & _FIRM:
        return "ORGANIZATION"
    if before.plain in _PERSON_BEFORE or after.plain in _PERSON_AFTER or inside & _TITLES:
        return "PERSON"
    if inside & _PLACE_AFTER or before.plain in _PLACE_BEFORE:
        return "LOCATION"
    labelled = first and words[first - 1].plain in _LABELS and text[words[first - 1].end : words[first].start].strip() == ":"
    return "NAME" if labelled or GONE_NAME in (before.text, after.text) else ""


def _bare(text: str, words: Sequence[_Word], first: int, last: int, odd: int) -> str:
    """A run of which nothing is said. One that ends in a word of the language is a title, or a body's. A single word that begins a
    sentence needs a sentence behind it, which a heading has not."""
    start, end = words[first].start, words[last].end
    begins = bool(_BEGINS.search(text, max(0, start - 8), start))
    if words[last].plain in _dictionary():
        return ""
    goes_on = last + 1 < len(words) and text[end : words[last + 1].start] in _NEAR and words[last + 1].text.islower()
    return "NAME" if odd > 1 or not begins or (goes_on and len(words) > 4) else ""
