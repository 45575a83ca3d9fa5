"""The check of a vector index: what it finds of what comparing every vector finds. Knows neither the index nor how it is searched."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from quality.check import Check, conclude, expect

LEAST_RECALL = 0.95
"""Of the ten nearest, on average. An HNSW index as we build it has .99 and more; deletions and drift lower it."""


def vector_recall(shares: Sequence[float]) -> Check:
    """Does the index find the nearest passages? `shares`: for each question, the share (0 to 1) of its ten nearest that were found.

    None if the index is searched exactly.
    """
    if not shares:
        return conclude("vector_recall", [], {"questions": 0}, "Every passage is compared: nothing can be missed.")
    recall = fmean(shares)
    finding = expect("vector_index", f"finds at least {LEAST_RECALL:.0%} of the ten nearest", int(recall < LEAST_RECALL))
    measured = {"questions": len(shares), "recall_at_10": round(recall, 4), "lowest": round(min(shares), 4)}
    found = f"{recall:.1%} of the ten nearest passages of {len(shares)} questions are found."
    return conclude("vector_recall", [finding], measured, found, _distribution(shares))


def _distribution(shares: Sequence[float]) -> dict[str, int]:
    """Questions by how many of their ten were found: all, nine, or fewer."""
    everything = sum(share >= 1 for share in shares)
    most = sum(0.9 <= share < 1 for share in shares)
    return {"ten_found": everything, "nine_found": most, "fewer_found": len(shares) - everything - most}
