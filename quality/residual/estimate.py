"""Sampling and estimation: draws passages, estimates a share with its interval, and corrects it for a detector's errors.

Statistics of binary results; nothing here knows what the detector looks for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from heapq import nsmallest
from itertools import chain
from typing import NamedTuple

LONGEST = 500
"""The maximum length of a passage, in characters."""
EACH = 20
"""The maximum number of passages drawn from one document."""

_Z = 1.959963984540054
_LEAST_CUT = LONGEST // 2


class Share(NamedTuple):
    """A share with its 95 % interval: 0 ≤ low ≤ rate ≤ high ≤ 1."""

    low: float
    rate: float
    high: float


class SampledDocument(NamedTuple):
    """A document of the sample: its number of passages, how many of them were examined, and how many of those are hits."""

    passages: int
    examined: int
    hits: int


class Errors(NamedTuple):
    """A detector's error rates. `false` and `most_false`: false hits for each 1,000 characters, as measured and at most; `recall` and
    `least_recall`: the share of the passages to find that it finds, as measured and at least."""

    false: float
    most_false: float
    recall: float
    least_recall: float


def draw(texts: Sequence[str], each: int = EACH) -> tuple[list[str], int]:
    """At most `each` of a document's passages, and their total number. Chosen by hash, so equal texts give the same passages."""
    passages = list(chain.from_iterable(map(_passages, texts)))
    return nsmallest(each, passages, key=_hash), len(passages)


def _hash(passage: str) -> bytes:
    return blake2b(passage.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _passages(text: str) -> Iterator[str]:
    """The text in pieces of at most `LONGEST` characters, cut at white space if possible; without pieces that have no letter or digit."""
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


def share(sample: Sequence[SampledDocument], documents: int) -> Share:
    """The share of hits among all passages of `documents` documents, of which `sample` is a random sample.

    A document is weighted by its passages (ratio estimator). Passages of one document resemble each other, so the interval is that of the
    effective sample size by the linearised variance between documents (Korn and Graubard 1998), with the finite population correction.
    """
    whole = sum(one.passages for one in sample)
    if not whole:
        return Share(0.0, 0.0, 1.0)
    rate = sum(one.passages * one.hits / one.examined for one in sample if one.examined) / whole
    kish = whole**2 / sum(one.passages**2 / one.examined for one in sample if one.examined)
    variance = _variance(sample, documents, rate, whole)
    return interval(rate, max(1.0, min(kish, rate * (1 - rate) / variance) if variance > 0 else kish))


def _variance(sample: Sequence[SampledDocument], documents: int, rate: float, whole: int) -> float:
    """The variance of the rate between samples of documents; 0 if the sample contains all of them."""
    sampled = len(sample)
    if sampled >= documents or sampled < 2:
        return 0.0
    squares = sum((one.passages * (one.hits / one.examined - rate)) ** 2 for one in sample if one.examined)
    return (1 - sampled / documents) * sampled / (sampled - 1) * squares / whole**2


def interval(rate: float, n: float) -> Share:
    """The 95 % score interval with continuity correction (Newcombe 1998, method 4) for a share of n ≥ 1, which need not be an integer.

    It covers every true share in at least 95 of 100 cases; the lower bound exceeds the true share in at most 5 of 100.
    """
    rest, wide = 1 - rate, 2 * (n + _Z**2)
    low = (2 * n * rate + _Z**2 - 1 - _Z * math.sqrt(max(0.0, _Z**2 - 2 - 1 / n + 4 * rate * (n * rest + 1)))) / wide
    high = (2 * n * rate + _Z**2 + 1 + _Z * math.sqrt(max(0.0, _Z**2 + 2 - 1 / n + 4 * rate * (n * rest - 1)))) / wide
    return Share(min(rate, max(0.0, low)) if rate > 0 else 0.0, rate, max(rate, min(1.0, high)) if rate < 1 else 1.0)


def corrected(found: Share, lengths: Sequence[int], errors: Errors) -> Share:
    """The true share behind a detected one, in passages of these lengths (Rogan and Gladen 1978).

    The bounds assume the worst measured errors: the lower bound the most false hits, the upper bound none and the least recall.
    """
    false, most_false = _expected(errors.false, lengths), _expected(errors.most_false, lengths)
    rate = _within((found.rate - false) / max(errors.recall - false, 0.01))
    low = _within((found.low - most_false) / max(1 - most_false, 0.01))
    return Share(min(low, rate), rate, max(rate, _within(found.high / errors.least_recall)))


def _expected(per_1000: float, lengths: Sequence[int]) -> float:
    """The expected share of passages of these lengths with a false hit, if false hits occur at random along the text."""
    return sum(1 - math.exp(-per_1000 * length / 1000) for length in lengths) / len(lengths) if lengths else 0.0


def _within(value: float) -> float:
    return max(0.0, min(1.0, value))
