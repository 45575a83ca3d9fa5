"""Drafts of questions for a person to judge, taken from passages themselves: no model writes them.

A draft is a heading and the words that set its passage apart. It is easier than a real question, and favours lexical search, because it has
the passage's own words: a person has to reword it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from core.terms import terms
from retrieval.lexical import idf

WORDS = 6
"""Of a draft, without its heading's."""
LEAST_WORDS = 12
"""Of a passage that something is asked about."""
K1 = 1.2
"""Saturation of a word's count, as in BM25."""


class Source(msgspec.Struct, frozen=True):
    """A passage, and what its document is called."""

    document: str
    title: str
    heading_path: tuple[str, ...]
    text: str


class Draft(msgspec.Struct, frozen=True):
    """A draft of a question, and the passage that may answer it."""

    text: str
    source: Source


def drafts(passages: Sequence[Source], most: int) -> list[Draft]:
    """At most `most` drafts, one for each document and each text, in the order of the passages. The same passages give the same drafts."""
    counted = [Counter(terms(passage.text).words) for passage in passages]
    frequency = Counter(word for counts in counted for word in counts)
    found: dict[str, Draft] = {}
    asked: set[str] = set()
    for passage, counts in zip(passages, counted, strict=True):
        text = _draft(passage, counts, frequency, len(passages))
        if text and passage.document not in found and text not in asked:
            found[passage.document] = Draft(text, passage)
            asked.add(text)
        if len(found) == most:
            break
    return list(found.values())


def _draft(passage: Source, counts: Counter[str], frequency: Counter[str], of: int) -> str:
    if len(counts) < LEAST_WORDS:
        return ""
    heading = passage.heading_path[-1] if passage.heading_path else passage.title
    known = set(terms(heading).words)
    weights = {word: idf(frequency[word], of) * count / (count + K1) for word, count in counts.items() if word not in known}
    best = sorted((word for word in weights if _is_plain(word)), key=lambda word: (-weights[word], word))[:WORDS]
    return " ".join([*heading.split(), *_in_order(passage.text, set(best))])


def _is_plain(word: str) -> bool:
    """Surrogates, numbers and initials are no words to ask with."""
    return len(word) > 2 and word.isalpha()


def _in_order(text: str, wanted: set[str]) -> Iterator[str]:
    """The wanted words, each once, as the text first writes them."""
    left = set(wanted)
    for written in re.findall(r"\w+", text):
        if written.lower() in left:
            left.discard(written.lower())
            yield written
