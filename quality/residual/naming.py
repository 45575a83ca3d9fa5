"""Suspected names of people and places, by how the tenant's texts use a word: half of the second detector.

Unlike redaction, which has lists of names and a language model, it suspects a capitalised word that neither these texts nor `words.txt`
write in lower case and that few documents contain, and judges it by the words around it. It shares no list with redaction.
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

from quality.residual.marks import REPLACED, REPLACED_NAME, Suspect


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_WORD = re.compile(rf"[{REPLACED}{REPLACED_NAME}]|[^\W\d_]{{1,40}}(?:['’-][^\W\d_]{{1,40}}){{0,4}}\.?")
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
# capitalised without being names
_CAPITALISED = _set(
    "monday tuesday wednesday thursday friday saturday sunday january february march april may june july august september october "
    "november december mr mrs ms miss mx dr prof sir madam st rd ave hi hey ok okay yeah dear english french german spanish italian "
    "dutch polish american british european chinese japanese greek latin catholic muslim christian islamic god internet minister secretary "
    "president congress congressman senator senate parliament governor speaker king queen prince emperor admiral general colonel captain "
    "department ministry committee council commission party court university bank north south east west northern southern eastern western"
)

# German capitalises every noun; two of these words identify a German text
_GERMAN = _set("und der die das den dem des ein eine einen einer nicht mit ist sind für auf im von wird werden zu bei nach auch")

_BEGINS = re.compile(r"(?:^|[.!?:;\n\"“”(\[•*#|>-])\s{0,4}$")
_NEAR = ("", " ", "  ", ", ")
_CODE = frozenset("`_/\\=<>[]{}@#$%")
_TAIL = re.compile(r"[-'’.].*")
_CONTRACTED = re.compile("n['’]t$|['’](?:ll|re|ve|m|d)$", re.IGNORECASE)
_PREFIX = re.compile(r"^(?:Ma?c|De|Di|La|Le|Fitz)(?=[A-Z])")

# endings of peoples (Australian, Japanese) and of inflected words (connects, composing), which few names have
_PEOPLE = re.compile(r"[^\W\d_]{3,}(?:ian|ean|ese|ican|ish|ic|ism|ist)s?$", re.IGNORECASE)
_INFLECTED = re.compile(r"(?:s|ed|ing|ly|ion|ity|ent|ant|ive|al|ous|ist|or|er|able|ment)$")

_WIDESPREAD, _FEW = 0.05, 5
"""A word capitalised in more than this share of the documents, and in more than this many, is a term."""
_MANY = 100
"""Documents needed to call a word rare that occurs in one of them."""


@cache
def _dictionary() -> frozenset[str]:
    lines = Path(__file__).with_name("words.txt").read_text(encoding="utf-8").splitlines()
    return _CAPITALISED.union(line for line in lines if not line.startswith("#"))


@dataclass(frozen=True)
class Usage:
    """How a tenant's texts use words. `lower`: words that occur in lower case; `terms`: words capitalised in many documents; `rare`: words
    in a single document of many."""

    lower: frozenset[str]
    terms: frozenset[str]
    rare: frozenset[str]

    @classmethod
    def of(cls, documents: Iterable[Sequence[str]]) -> Usage:
        """The usage in documents, each a sequence of texts."""
        lower: set[str] = set()
        capitalised: Counter[str] = Counter()
        written: Counter[str] = Counter()
        total = 0
        for total, texts in enumerate(documents, 1):  # noqa: B007 - the number of documents
            words = {word[0].rstrip(".") for text in texts for word in _WORD.finditer(text)}
            lower.update(filter(str.islower, words))
            capitalised.update({word.lower() for word in words if word[0].isupper()})
            written.update({word.lower() for word in words})
        most = max(_FEW, _WIDESPREAD * total)
        once = [word for word, n in written.items() if n == 1] if total >= _MANY else []
        return cls(frozenset(lower), frozenset(word for word, n in capitalised.items() if n > most), frozenset(once))


class _Word(NamedTuple):
    start: int
    end: int
    text: str

    @property
    def plain(self) -> str:
        return self.text.rstrip(".").lower()


_NONE = _Word(0, 0, "")


def names(text: str, usage: Usage) -> Iterator[Suspect]:
    """Suspected names in a blanked text."""
    words = [_Word(*hit.span(), hit[0]) for hit in _WORD.finditer(text)]
    yield from _uncapitalised(text, words, usage)
    german = len({word.text for word in words} & _GERMAN) > 1
    for first, last in _runs(text, words):
        titled = not _TITLES.isdisjoint(word.plain for word in words[max(0, first - 1) : last])
        if german and not titled:
            continue
        name_like = sum(_is_name_like(text, word, usage, titled=titled) for word in words[first : last + 1])
        if name_like and (kind := _kind(text, words, first, last) or _kind_without_context(text, words, first, last, name_like)):
            yield Suspect(words[first].start, words[last].end, kind)


def _uncapitalised(text: str, words: Sequence[_Word], usage: Usage) -> Iterator[Suspect]:
    """Rare lower-case words where a name is expected: next to a replaced name, or after a title."""
    for left, right in pairwise(words):
        if text[left.end : right.start] in _NEAR:
            if (left.text == REPLACED_NAME or left.plain in _TITLES) and _rare(right, usage):
                yield Suspect(right.start, right.end, "NAME")
            elif right.text == REPLACED_NAME and _rare(left, usage):
                yield Suspect(left.start, left.end, "NAME")


def _rare(word: _Word, usage: Usage) -> bool:
    if len(word.plain) < 4 or not word.text.islower() or _INFLECTED.search(word.plain):
        return False
    return word.plain in usage.rare and word.plain not in _dictionary()


def _runs(text: str, words: Sequence[_Word]) -> Iterator[tuple[int, int]]:
    """Runs of adjacent capitalised words, as (first, last) positions among the words. Particles may be inside."""
    run: list[int] = []
    for at, word in enumerate(words):
        joined = bool(run) and not _ends_sentence(words[at - 1]) and text[words[at - 1].end : word.start] in _NEAR
        if joined and not word.text[0].isupper() and word.plain in _PARTICLES:
            continue
        if run and not (joined and word.text[0].isupper()):
            yield run[0], run[-1]
            run = []
        if word.text[0].isupper():
            run.append(at)
    if run:
        yield run[0], run[-1]


def _ends_sentence(word: _Word) -> bool:
    """Whether the word's full stop ends a sentence. One after an initial or a title does not."""
    return word.text.endswith(".") and len(word.plain) >= 4


def _is_name_like(text: str, word: _Word, usage: Usage, *, titled: bool) -> bool:
    """Whether these texts use the word like a name. After a title it may occur in many documents."""
    part = _TAIL.sub("", word.text)
    if len(part) < 3 or not _PREFIX.sub("", part)[1:].islower() or _CONTRACTED.search(word.text) or _in_code(text, word):
        return False
    plain = part.lower()
    if _PEOPLE.match(part) and not titled:
        return False
    return plain not in usage.lower and plain not in _dictionary() and (titled or plain not in usage.terms)


def _in_code(text: str, word: _Word) -> bool:
    return text[max(0, word.start - 1) : word.start] in _CODE or text[word.end : word.end + 1] in _CODE | {"("}


def _kind(text: str, words: Sequence[_Word], first: int, last: int) -> str:
    """The kind of a run by the words in it and around it; empty if they say nothing."""
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
    return "NAME" if labelled or REPLACED_NAME in (before.text, after.text) else ""


def _kind_without_context(text: str, words: Sequence[_Word], first: int, last: int, name_like: int) -> str:
    """NAME, or empty. A run that ends in a dictionary word is a heading or an organisation's name; a single word at the beginning of a
    sentence counts only if a sentence follows, unlike in a heading."""
    start, end = words[first].start, words[last].end
    begins = bool(_BEGINS.search(text, max(0, start - 8), start))
    if words[last].plain in _dictionary():
        return ""
    continues = last + 1 < len(words) and text[end : words[last + 1].start] in _NEAR and words[last + 1].text.islower()
    return "NAME" if name_like > 1 or not begins or (continues and len(words) > 4) else ""
