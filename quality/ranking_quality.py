"""The check of search itself: do judged queries still find what they found when they were kept? Knows nothing of searching."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from quality.check import Check, Finding, Measure, conclude, expect
from quality.rankings import DEPTH

Reached = Mapping[str, Sequence[tuple[float, float]]]
"""Search mode → for each query, nDCG when the baseline was kept, and now."""


def retrieval_quality(reached: Reached, most_loss: float, absent: int) -> Check:
    """Does search still find what people judged to be answers? `most_loss`: of the mean nDCG of the queries, in any mode.

    `absent`: relevant documents that the index does not have, which explains a loss that no setting caused.
    """
    asked = max((len(pairs) for pairs in reached.values()), default=0)
    if not asked:
        return conclude("retrieval_quality", [], {"queries": 0}, "No judged query is kept: `headrace evaluate --keep` keeps some.")
    means = {mode: (fmean(before for before, _ in pairs), fmean(now for _, now in pairs)) for mode, pairs in reached.items() if pairs}
    findings = [_finding(mode, *of, most_loss) for mode, of in means.items()]
    shown = "; ".join(f"{mode} {now:.3f} (kept {before:.3f})" for mode, (before, now) in means.items())
    measured = {"queries": asked, "documents absent": absent, **dict(_measured(reached, means))}
    return conclude("retrieval_quality", findings, measured, f"nDCG@{DEPTH} of {asked} judged queries: {shown}.")


def _finding(mode: str, before: float, now: float, most_loss: float) -> Finding:
    lost = f"nDCG@{DEPTH} {now:.3f}, at most {most_loss:g} below the {before:.3f} that was kept"
    # the same rankings have the same measure, to the last places of a sum
    return expect(mode, lost, int(before - now > most_loss + 1e-9))


def _measured(reached: Reached, means: Mapping[str, tuple[float, float]]) -> Iterator[tuple[str, Measure]]:
    for mode, (before, now) in means.items():
        yield f"{mode}/ndcg_at_{DEPTH}", round(now, 4)
        yield f"{mode}/kept", round(before, 4)
        yield f"{mode}/worse", sum(after < was - 1e-9 for was, after in reached[mode])
