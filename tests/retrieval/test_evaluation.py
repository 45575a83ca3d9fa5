"""Measures, intervals and differences of rankings; drafts of queries."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quality.rankings import ndcg
from retrieval.candidates import Candidate
from retrieval.citations import Citation
from retrieval.document_ranking import documents
from retrieval.evaluation import NDCG, difference, interval, measures
from retrieval.pages import MOST_CANDIDATES
from retrieval.suggestions import WORDS, Source, drafts

DOCUMENTS = [f"d{number}" for number in range(15)]
RANKING = st.permutations(DOCUMENTS).flatmap(lambda order: st.integers(0, len(order)).map(lambda size: order[:size]))
GRADES = st.dictionaries(st.sampled_from(DOCUMENTS), st.integers(0, 3), min_size=1).filter(lambda grades: any(grades.values()))


def test_measures_of_a_known_ranking() -> None:
    found = measures({"q": {"a": 1, "b": 2, "z": 0}}, {"q": ["x", "b", "a"]})
    gain = 2 / math.log2(3) + 1 / math.log2(4)
    assert found[NDCG]["q"] == pytest.approx(gain / (2 + 1 / math.log2(3)))
    assert (found["recall_at_100"]["q"], found["mrr_at_10"]["q"]) == (1.0, 0.5)
    assert found["map"]["q"] == pytest.approx((1 / 2 + 2 / 3) / 2)


@given(GRADES, RANKING)
def test_the_check_and_the_evaluation_measure_the_same(grades: dict[str, int], ranking: Sequence[str]) -> None:
    assert measures({"q": grades}, {"q": ranking})[NDCG]["q"] == pytest.approx(ndcg(ranking, grades))


@given(GRADES, RANKING)
def test_every_measure_is_a_share_and_no_better_for_less_of_the_ranking(grades: dict[str, int], ranking: Sequence[str]) -> None:
    whole, cut = (measures({"q": grades}, {"q": found}, 12) for found in (ranking, ranking[:-1]))
    assert set(whole) == {NDCG, "recall_at_12", "mrr_at_10", "map"}
    assert all(0 <= cut[name]["q"] <= whole[name]["q"] <= 1 for name in whole)


def test_a_query_that_finds_nothing_counts_as_0_and_what_was_not_judged_counts_nowhere() -> None:
    found = measures({"a": {"d": 1}, "b": {"d": 1}, "c": {"d": 1}}, {"a": ["d"], "b": [], "unjudged": ["d"]})
    assert found[NDCG] == {"a": 1.0, "b": 0.0, "c": 0.0}


def test_only_the_first_documents_count() -> None:
    assert measures({"q": {"d": 1}}, {"q": [*DOCUMENTS, "d"]}, len(DOCUMENTS))["map"]["q"] == 0


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30))
def test_a_mean_is_within_its_interval_and_the_interval_within_the_values(values: list[float]) -> None:
    found = interval(values)
    assert found.low is not None
    assert found.high is not None
    assert min(values) - 1e-9 <= found.low <= found.mean + 1e-9
    assert found.mean - 1e-9 <= found.high <= max(values) + 1e-9
    assert interval(values) == found


def test_the_interval_of_many_shares_is_that_of_the_binomial() -> None:
    found = interval([1.0] * 200 + [0.0] * 200)
    assert found.low == pytest.approx(0.451, abs=0.006)
    assert found.high == pytest.approx(0.549, abs=0.006)


def test_one_query_has_no_interval() -> None:
    found = interval([0.5])
    assert (found.mean, found.low, found.high, found.is_apart_from_zero) == (0.5, None, None, False)


def test_a_small_and_steady_difference_is_apart_from_zero_although_the_queries_differ_much() -> None:
    before = {f"q{number}": number / 100 for number in range(50)}
    after = {query: value + 0.01 for query, value in before.items()}
    assert difference(before, after).interval.is_apart_from_zero
    assert not difference(before, before).interval.is_apart_from_zero


def test_a_difference_is_over_shared_queries_with_the_greatest_loss_first() -> None:
    found = difference({"a": 0.5, "b": 0.5, "c": 0.5, "d": 0.5, "only": 1.0}, {"a": 0.0, "b": 1.0, "c": 0.25, "d": 0.5, "other": 1.0})
    assert (found.better, found.worse, found.equal) == (1, 2, 1)
    assert [change.query for change in found.changes] == ["a", "c", "b"]
    assert found.interval.mean == pytest.approx(-0.0625)


# ── documents ────────────────────────────────────────────────────────────────────────────────────────────────


def candidate(number: int, *keys: str) -> Candidate:
    return Candidate(f"c{number}", "", (), -float(number), tuple(Citation(key, key, "", "", None, 0, 1) for key in keys))


@given(st.lists(st.lists(st.sampled_from(DOCUMENTS), min_size=1, max_size=3), max_size=40), st.integers(1, 20), st.integers(0, 5))
def test_a_document_stands_where_its_best_passage_does_and_what_is_uncertain_is_read_again(
    cited: list[list[str]], depth: int, uncertain: int
) -> None:
    every = [candidate(number, *keys) for number, keys in enumerate(cited)]

    def read(look: int) -> tuple[list[Candidate], tuple[float, str] | None]:
        if look >= len(every):
            return every, None
        sure = every[: max(look - uncertain, 0)]
        return [*sure, candidate(100, "wrong")], sure[-1].place if sure else (-1.0, "")

    assert documents(read, depth) == list(dict.fromkeys(key for keys in cited for key in keys))[:depth]


def test_one_document_of_very_many_passages_is_looked_at_to_a_bound() -> None:
    asked: list[int] = []

    def read(look: int) -> tuple[list[Candidate], tuple[float, str] | None]:
        asked.append(look)
        return (found := [candidate(number, "one") for number in range(look)]), found[-1].place

    assert documents(read, 100) == ["one"]
    assert asked == [150, 300, 600, 1200, 2400, MOST_CANDIDATES]


# ── drafts ───────────────────────────────────────────────────────────────────────────────────────────────────

PASSAGES = [
    Source(
        "manual.md",
        "Manual",
        ("Manual", "Bearing"),
        "The guide bearing of the turbine is greased every month, and the grease is replaced yearly.",
    ),
    Source(
        "manual.md",
        "Manual",
        ("Manual", "Seal"),
        "The shaft seal of the turbine is inspected every month, and the packing is replaced yearly.",
    ),
    Source(
        "gate.md",
        "The gate",
        (),
        "The intake gate of the turbine is lowered every month, and the hoist <EMAIL:7f3a0c> is replaced yearly 12345.",
    ),
    Source("short.md", "Short", (), "Nothing here."),
]


def test_a_draft_has_the_heading_and_what_sets_the_passage_apart() -> None:
    found = drafts(PASSAGES, 10)
    assert [draft.source.document for draft in found] == ["manual.md", "gate.md"]
    assert [draft.text.split()[0] for draft in found] == ["Bearing", "The"]
    assert {"guide", "greased", "grease"} <= set(found[0].text.split())
    assert {"intake", "lowered", "hoist"} <= set(found[1].text.split())


@given(st.lists(st.builds(Source, st.sampled_from("abc"), TEXT := st.text(max_size=20), st.just(()), st.text(max_size=200)), max_size=8))
def test_drafts_are_one_a_document_short_and_the_same_every_time(passages: list[Source]) -> None:
    found = drafts(passages, 2)
    assert found == drafts(passages, 2)
    assert len(found) <= 2
    assert len({draft.source.document for draft in found}) == len(found)
    assert all(len(draft.text.split()) <= len(draft.source.title.split()) + WORDS for draft in found)
