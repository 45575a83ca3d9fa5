"""What becomes of candidates in one cluster. tests/index/test_collapse.py finds clusters in Postgres."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.candidates import Candidate
from retrieval.collapse import Clusters, chosen
from tests.retrieval.test_pipeline import candidate

PIVOTS = {"b": "a", "c": "a", "e": "d"}
CANDIDATES = st.lists(
    st.builds(candidate, st.sampled_from("abcdefg"), st.floats(-1, 1)), max_size=7, unique_by=lambda candidate: candidate.chunk
).map(lambda found: sorted(found, key=lambda candidate: -candidate.score))
SETTINGS = st.sampled_from(["mark", "down-weight", "leave-out"])
Setting = Literal["mark", "down-weight", "leave-out"]


@given(CANDIDATES, st.sets(st.sampled_from("adfg")), SETTINGS)
def test_the_best_of_each_cluster_is_shown(found: list[Candidate], boilerplate: set[str], setting: Setting) -> None:
    shown = chosen(found, Clusters(PIVOTS, boilerplate, setting))
    clusters = [PIVOTS.get(one.chunk, one.chunk) for one in shown]
    assert len(set(clusters)) == len(clusters)
    best = {PIVOTS.get(one.chunk, one.chunk): one.chunk for one in reversed(found)}
    assert {one.chunk for one in shown} <= set(best.values())
    assert [one.boilerplate for one in shown] == [cluster in boilerplate for cluster in clusters]
    assert [one.score for one in shown] == sorted((one.score for one in shown), reverse=True)
    if setting != "leave-out":
        assert len(shown) == len(best)


def test_boilerplate_is_marked_in_its_place() -> None:
    shown = chosen([candidate("a", 0.9), candidate("f", 0.8)], Clusters(boilerplate={"a"}))
    assert [(one.chunk, one.boilerplate, one.score) for one in shown] == [("a", True, 0.9), ("f", False, 0.8)]


@pytest.mark.parametrize(("score", "weighted"), [(0.9, 0.45), (-0.2, -0.4), (0.0, 0.0)])
def test_down_weighted_boilerplate_has_half_its_score(score: float, weighted: float) -> None:
    shown = chosen([candidate("a", score), candidate("f", -0.5)], Clusters(boilerplate={"a"}, setting="down-weight"))
    assert [(one.chunk, one.score) for one in shown] == [("a", weighted), ("f", -0.5)]


def test_down_weighted_boilerplate_comes_after_what_is_better() -> None:
    shown = chosen([candidate("a", 0.9), candidate("f", 0.5)], Clusters(boilerplate={"a"}, setting="down-weight"))
    assert [one.chunk for one in shown] == ["f", "a"]


def test_what_is_left_out_is_counted_by_the_passage_after_it() -> None:
    found = [candidate(chunk, score) for chunk, score in (("a", 0.9), ("d", 0.8), ("f", 0.7), ("b", 0.6), ("g", 0.5))]
    shown = chosen(found, Clusters(PIVOTS, {"a", "d"}, "leave-out"))
    assert [(one.chunk, one.left_out) for one in shown] == [("f", 2), ("g", 0)]


def test_nothing_is_left_out_if_nothing_else_was_found() -> None:
    shown = chosen([candidate("a", 0.9), candidate("d", 0.8)], Clusters(PIVOTS, {"a", "d"}, "leave-out"))
    assert [(one.chunk, one.boilerplate) for one in shown] == [("a", True), ("d", True)]
