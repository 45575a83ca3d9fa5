"""What a sample says of the whole: which texts are drawn, the share among them with its interval, and how a detector's errors bend it.

Plain statistics of yes and no: nothing here knows what was looked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from heapq import nsmallest
from itertools import chain
from typing import NamedTuple

LONGEST = 500
"""Characters of a passage at most."""
EACH = 20
"""Passages drawn from one document at most."""

_Z = 1.959963984540054
_LEAST_CUT = LONGEST // 2


class Share(NamedTuple):
    """A share with its interval at 95 %: 0 ≤ low ≤ rate ≤ high ≤ 1."""

    low: float
    rate: float
    high: float


class Drawn(NamedTuple):
    """One document of the sample: how many passages it has, how many of them were looked at, and how many of those are hits."""

    passages: int
    looked: int
    hits: int


class Errors(NamedTuple):
    """How a detector errs. `false` and `most_false`: what it takes wrongly for a hit per 1,000 characters, as measured and at the most;
    `recall` and `least_recall`: of the passages that it should find, the share that it does."""

    false: float
    most_false: float
    recall: float
    least_recall: float


def draw(texts: Sequence[str], each: int = EACH) -> tuple[list[str], int]:
    """At most so many of a document's passages, and how many it has. Chosen by their hashes: the same texts give the same choice."""
    passages = list(chain.from_iterable(map(_passages, texts)))
    return nsmallest(each, passages, key=_lot), len(passages)


def _lot(passage: str) -> bytes:
    return blake2b(passage.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _passages(text: str) -> Iterator[str]:
    """The text in pieces of at most `LONGEST` characters, cut at white space where there is some; without those that say nothing."""
    start = 0
    while start < len(text):
        end = start + LONGEST
        if end < len(text):
            space = max(text.rfind(" ", start + _LEAST_CUT, end), text.rfind("\n", start + _LEAST_CUT, end))
            end = space if space > 0 else end
        piece = text[start:end]
        if any(map(str.isalnum, piece)):
            yield piece
        start = end


def share(drawn: Sequence[Drawn], documents: int) -> Share:
    """The share of hits among all passages of so many documents, of which `drawn` are a random sample.

    A document counts by its passages (ratio estimator). Passages of one document resemble each other: the interval is that of the
    effective sample size, by the linearised variance between documents (Korn and Graubard 1998), less what sampling all of them takes away.
    """
    whole = sum(one.passages for one in drawn)
    if not whole:
        return Share(0.0, 0.0, 1.0)
    rate = sum(one.passages * one.hits / one.looked for one in drawn if one.looked) / whole
    kish = whole**2 / sum(one.passages**2 / one.looked for one in drawn if one.looked)
    variance = _between(drawn, documents, rate, whole)
    return interval(rate, max(1.0, min(kish, rate * (1 - rate) / variance) if variance > 0 else kish))


def _between(drawn: Sequence[Drawn], documents: int, rate: float, whole: int) -> float:
    """The variance of the rate by which documents were drawn; none where all of them were."""
    looked = len(drawn)
    if looked >= documents or looked < 2:
        return 0.0
    squares = sum((one.passages * (one.hits / one.looked - rate)) ** 2 for one in drawn if one.looked)
    return (1 - looked / documents) * looked / (looked - 1) * squares / whole**2


def interval(rate: float, n: float) -> Share:
    """The 95 % score interval with continuity correction (Newcombe 1998, method 4) for a share of n, n ≥ 1, which need not be whole.

    It covers the true share in 95 of 100 cases at the least, whatever that is; the lower bound alone lies above it in 5 of 100 at the most.
    """
    rest, wide = 1 - rate, 2 * (n + _Z**2)
    low = (2 * n * rate + _Z**2 - 1 - _Z * math.sqrt(max(0.0, _Z**2 - 2 - 1 / n + 4 * rate * (n * rest + 1)))) / wide
    high = (2 * n * rate + _Z**2 + 1 + _Z * math.sqrt(max(0.0, _Z**2 + 2 - 1 / n + 4 * rate * (n * rest - 1)))) / wide
    return Share(min(rate, max(0.0, low)) if rate > 0 else 0.0, rate, max(rate, min(1.0, high)) if rate < 1 else 1.0)


def corrected(found: Share, lengths: Sequence[int], errors: Errors) -> Share:
    """What there is where a detector found that much, in passages of these lengths (Rogan and Gladen 1978).

    The bounds take the detector for as bad as it was measured: for the lower one all that may be false is, for the upper one nothing.
    """
    false, most_false = _expected(errors.false, lengths), _expected(errors.most_false, lengths)
    rate = _within((found.rate - false) / max(errors.recall - false, 0.01))
    low = _within((found.low - most_false) / max(1 - most_false, 0.01))
    return Share(min(low, rate), rate, max(rate, _within(found.high / errors.least_recall)))


def _expected(per_1000: float, lengths: Sequence[int]) -> float:
    """The share of passages of these lengths with a false hit, where false hits come at random along the text."""
    return sum(1 - math.exp(-per_1000 * length / 1000) for length in lengths) / len(lengths) if lengths else 0.0


def _within(value: float) -> float:
    return max(0.0, min(1.0, value))
