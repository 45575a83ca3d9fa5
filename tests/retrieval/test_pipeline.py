"""The steps of retrieval without a server: requests, fusion, reranking. tests/index searches in Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import HeadraceError
from core.tenancy import Connection
from retrieval.candidates import Candidate, OpenReader
from retrieval.citations import Citation, Passage
from retrieval.fusion import fuse
from retrieval.request import AVAILABLE, Mode, SearchRequest
from retrieval.search import retrieve


class Listed:
    """A generator whose candidates are known in advance."""

    def __init__(self, *candidates: Candidate) -> None:
        self._candidates = candidates

    def candidates(self, open_reader: OpenReader, request: SearchRequest) -> list[Candidate]:
        with open_reader():
            return list(self._candidates[: request.top])


class ShortestFirst:
    def rerank(self, query: str, candidates: Sequence[Candidate]) -> list[Candidate]:
        return sorted(candidates, key=lambda candidate: len(candidate.text))


def candidate(chunk: str, score: float, text: str = "") -> Candidate:
    return Candidate(chunk, text or chunk, ("Guide",), score, (Citation(f"{chunk}.md", "key", "", "", 1, 0, 1),))


def no_connection() -> AbstractContextManager[Connection]:
    return nullcontext(cast("Connection", None))


def found(*generators: Listed, top: int = 5, **given: Any) -> list[str]:
    return [passage.chunk for passage in retrieve(no_connection, generators, SearchRequest("q", top=top), **given)]


@pytest.mark.parametrize("mode", ["hybrid", "", "VECTOR"])
def test_a_mode_that_does_not_exist_yet_is_refused(mode: str) -> None:
    with pytest.raises(HeadraceError, match=f"no search mode {mode!r}") as refused:
        SearchRequest("a question", mode=cast("Mode", mode))
    assert refused.value.reason == "bad-query"
    assert AVAILABLE == ("vector", "lexical")


@pytest.mark.parametrize("query", ["", "   ", "\n\t", None, b"seals", 7, ["seals"], "seals\ud800"], ids=repr)
def test_a_question_is_text_that_is_not_empty(query: Any) -> None:
    with pytest.raises(HeadraceError) as refused:
        SearchRequest(query)
    assert (refused.value.reason, bool(refused.value.remedy)) == ("bad-query", True)


@pytest.mark.parametrize("top", [0, -1, 1001, 10**9, 2**63, None, "5", 5.0, True], ids=repr)
def test_top_is_a_whole_number_from_1_to_1000(top: Any) -> None:
    with pytest.raises(HeadraceError) as refused:
        SearchRequest("q", top=top)
    assert (refused.value.reason, bool(refused.value.remedy)) == ("bad-top", True)
    assert [SearchRequest("q", top=good).top for good in (1, 1000)] == [1, 1000]


def test_every_caller_is_also_everyone() -> None:
    assert SearchRequest("q").readers == ["*"]
    assert SearchRequest("q", ("user:jo", "group:hr", "*", "user:jo")).readers == ["*", "group:hr", "user:jo"]


def test_one_generators_candidates_are_the_passages_in_its_order() -> None:
    best, other = candidate("b", 0.5), candidate("a", 0.5)
    assert retrieve(no_connection, [Listed(best, other)], SearchRequest("q")) == [
        Passage(each.chunk, each.text, each.heading_path, each.score, each.citations) for each in (best, other)
    ]


def test_of_several_generators_each_chunk_comes_once_with_its_best_score() -> None:
    lists = [[candidate("a", 0.9), candidate("b", 0.2)], [candidate("b", 0.7), candidate("c", 0.7), candidate("a", 0.1)]]
    assert [(each.chunk, each.score) for each in fuse(lists)] == [("a", 0.9), ("b", 0.7), ("c", 0.7)]
    assert found(*(Listed(*candidates) for candidates in lists), top=2) == ["a", "b"]


def test_no_generator_and_no_candidate_give_no_passage() -> None:
    assert found() == found(Listed()) == found(Listed(), Listed()) == []


CANDIDATES = st.builds(candidate, st.sampled_from("abcdef"), st.floats(-1, 1))
LISTS = st.lists(st.lists(CANDIDATES, max_size=6, unique_by=lambda candidate: candidate.chunk), min_size=2, max_size=4)


@given(LISTS)
def test_fusion_keeps_every_chunk_with_the_best_of_its_scores_best_first(lists: list[list[Candidate]]) -> None:
    fused = fuse(lists)
    scores = [(each.chunk, each.score) for candidates in lists for each in candidates]
    assert {each.chunk: each.score for each in fused} == {chunk: max(s for c, s in scores if c == chunk) for chunk, _ in scores}
    assert [each.score for each in fused] == sorted((each.score for each in fused), reverse=True)
    assert len({each.chunk for each in fused}) == len(fused)


@given(LISTS)
def test_fusion_does_not_depend_on_the_order_of_the_generators(lists: list[list[Candidate]]) -> None:
    assert [(each.chunk, each.score) for each in fuse(lists)] == [(each.chunk, each.score) for each in fuse(lists[::-1])]


def test_a_reranker_sees_all_candidates_before_the_best_are_cut_off() -> None:
    one, other = Listed(candidate("a", 0.9, "long text"), candidate("b", 0.8, "longer text")), Listed(candidate("c", 0.1, "short"))
    assert found(one, other, top=2) == ["a", "b"]
    assert found(one, other, top=2, reranker=ShortestFirst()) == ["c", "a"]
