"""Fusion: a passage's cosine and its BM25 as one score, which depends on no other candidate.

The score is w × cosine' + (1 − w) × BM25'. BM25' is BM25 without its constant factor (k1 + 1), as a share of the idf of the query's terms:
what a passage full of them would have. cosine' = (cosine − μ) / (1 − μ), with μ the mean cosine between the tenant's passages: models
differ in how alike they find any two texts. Reciprocal rank fusion (Cormack, Clarke and Büttcher, Reciprocal rank fusion outperforms
Condorcet and individual rank learning methods, 2009) is the other way: 2w / (60 + rank) and 2(1 − w) / (60 + rank).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

WEIGHT = 0.5
"""Of the cosine."""
WEIGHT_OF_UNKNOWN = 0.2
"""Of the cosine to a passage in a language that the model was not trained on."""
RRF_K = 60
LARGEST_MEAN = 0.9
"""Of the mean cosine: passages that are all alike would make any difference a large one."""

LANGUAGES: Mapping[str, frozenset[str]] = {"minilm": frozenset({"en"}), "bge-small": frozenset({"en"})}
"""By a model's name in the configuration: the languages that it knows. Other models are taken to know all."""


class Scored(msgspec.Struct, frozen=True):
    """A chunk with its score and what it is made of. `bm25`: as a share, 0 to 1."""

    chunk: str
    score: float
    cosine: float | None = None
    calibrated: float | None = None
    bm25: float | None = None

    @property
    def place(self) -> tuple[float, str]:
        """What rankings are sorted by."""
        return -self.score, self.chunk


class Weighing(msgspec.Struct, frozen=True):
    """How two scores are added: the weight of the cosine, and the mean cosine."""

    weight: float = WEIGHT
    mean: float = 0.0

    def calibrated(self, cosine: float) -> float:
        return (cosine - self.mean) / (1 - self.mean)

    def score(self, cosine: float, bm25: float) -> float:
        return self.weight * self.calibrated(cosine) + (1 - self.weight) * bm25

    def scored(self, chunk: str, cosine: float, bm25: float) -> Scored:
        return Scored(chunk, self.score(cosine, bm25), cosine, self.calibrated(cosine), bm25)


def mean_cosine(squared_length: float, vectors: int) -> float:
    """Between two of so many unit vectors, whose mean has this squared length: 0 to `LARGEST_MEAN`; 0 if there are no two."""
    if vectors < 2:
        return 0.0
    return min(max((vectors * squared_length - 1) / (vectors - 1), 0.0), LARGEST_MEAN)


def default_weight(model: str, passages: Mapping[str, int]) -> float:
    """The mean over the passages of the weight that their language has with this model. `passages`: by language, empty if unknown."""
    known = LANGUAGES.get(model)
    total = sum(passages.values())
    if known is None or not total:
        return WEIGHT
    unknown = sum(number for language, number in passages.items() if language and language not in known)
    return WEIGHT + (WEIGHT_OF_UNKNOWN - WEIGHT) * unknown / total


def by_score(cosines: Mapping[str, float], shares: Mapping[str, float], weighing: Weighing) -> list[Scored]:
    """Chunks by their fused score, best first; equal ones by id. Each has a cosine; one without a share has none of the terms."""
    return sorted((weighing.scored(chunk, cosine, shares.get(chunk, 0.0)) for chunk, cosine in cosines.items()), key=lambda one: one.place)


def by_rank(
    nearest: Sequence[str], wordy: Sequence[str], cosines: Mapping[str, float], shares: Mapping[str, float], weighing: Weighing
) -> list[Scored]:
    """Chunks by their reciprocal ranks in the two rankings, best first; equal ones by id."""
    scores: dict[str, float] = {}
    for weight, ranking in ((weighing.weight, nearest), (1 - weighing.weight, wordy)):
        for rank, chunk in enumerate(ranking, 1):
            scores[chunk] = scores.get(chunk, 0.0) + 2 * weight / (RRF_K + rank)
    parts = ((chunk, score, cosines[chunk], shares.get(chunk, 0.0)) for chunk, score in scores.items())
    return sorted(
        (Scored(c, score, cosine, weighing.calibrated(cosine), bm25) for c, score, cosine, bm25 in parts), key=lambda one: one.place
    )
