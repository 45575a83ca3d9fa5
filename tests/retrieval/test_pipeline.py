"""The steps of retrieval without a server: requests, fusion, parents. tests/index searches in Postgres."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any, cast, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import HeadraceError
from retrieval import cursor
from retrieval.candidates import Candidate
from retrieval.citations import Citation
from retrieval.cursor import Position
from retrieval.filters import LONGEST_VALUE, Filters
from retrieval.fusion import LARGEST_MEAN, Weighing, by_rank, by_score, default_weight, mean_cosine
from retrieval.parents import once
from retrieval.request import LONGEST_QUERY, Mode, SearchRequest


def candidate(chunk: str, score: float, text: str = "", parent: str | None = None) -> Candidate:
    return Candidate(chunk, text or chunk, ("Guide",), score, (Citation(f"{chunk}.md", "key", "", "", 1, 0, 1),), parent)


@pytest.mark.parametrize("mode", ["semantic", "", "VECTOR", None, ["hybrid"]])
def test_a_mode_that_does_not_exist_is_refused(mode: Any) -> None:
    with pytest.raises(HeadraceError, match="no search mode") as refused:
        SearchRequest("a question", mode=mode)
    assert refused.value.reason == "bad-query"
    assert SearchRequest("a question").mode == "hybrid"
    assert [SearchRequest("a question", mode=cast("Mode", mode)).by_meaning for mode in get_args(Mode)] == [True, True, False]


@pytest.mark.parametrize(
    "query", ["", "   ", "\n\t", None, b"seals", 7, ["seals"], "seals\ud800", "x" * (LONGEST_QUERY + 1)], ids=lambda query: repr(query)[:20]
)
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


@pytest.mark.parametrize(
    "given",
    [
        {"expand": "page"},
        {"expand": None},
        {"fusion": "sum"},
        {"rerank": 1},
        {"explain": "yes"},
        {"diversity": -0.1},
        {"diversity": 1.1},
        {"diversity": None},
        {"diversity": True},
        {"weight": math.nan},
        {"weight": 2},
        {"weight": "0.5"},
        {"least": math.inf},
        {"least": "low"},
    ],
    ids=repr,
)
def test_an_option_that_cannot_be_meant_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(HeadraceError) as refused:
        SearchRequest("q", **given)
    assert (refused.value.reason, bool(refused.value.remedy)) == ("bad-option", True)


@pytest.mark.parametrize(
    "given",
    [
        {"sources": "wiki"},
        {"sources": [7]},
        {"sources": [""]},
        {"sources": ["x"] * 101},
        {"languages": None},
        {"media_types": ["a\0b"]},
        {"path": 7},
        {"path": "x" * (LONGEST_VALUE + 1)},
        {"path": "\ud800"},
        {"metadata": ["a"]},
        {"metadata": {"team": 7}},
        {"metadata": {"team\0": "7"}},
        {"since": "2024-01-01"},
        {"since": datetime(2024, 1, 1)},  # noqa: DTZ001
        {"since": datetime(2024, 1, 2, tzinfo=UTC), "until": datetime(2024, 1, 1, tzinfo=UTC)},
    ],
    ids=lambda given: repr(given)[:40],
)
def test_a_filter_that_cannot_be_meant_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(HeadraceError) as refused:
        Filters(**given)
    assert (refused.value.reason, bool(refused.value.remedy)) == ("bad-filter", True)
    with pytest.raises(HeadraceError) as refused:
        SearchRequest("q", filters=given)  # type: ignore[arg-type]
    assert refused.value.reason == "bad-filter"


def test_a_filter_that_is_not_given_is_no_condition() -> None:
    assert Filters().given() == {}
    assert Filters(path="/a", sources=("wiki",)).given() == {"path": "/a", "sources": ["wiki"]}


# fusion

SHARES = st.floats(0, 1)
COSINES = st.floats(-1, 1)
WEIGHINGS = st.builds(Weighing, st.floats(0, 1), st.floats(0, LARGEST_MEAN))
SCORES = st.dictionaries(st.sampled_from("abcdef"), st.tuples(COSINES, SHARES))


@given(SCORES, WEIGHINGS)
def test_a_fused_score_depends_on_no_other_candidate(scores: dict[str, tuple[float, float]], weighing: Weighing) -> None:
    fused = by_score(
        {chunk: cosine for chunk, (cosine, _) in scores.items()}, {chunk: share for chunk, (_, share) in scores.items()}, weighing
    )
    assert {one.chunk for one in fused} == scores.keys()
    assert [one.place for one in fused] == sorted(one.place for one in fused)
    for one in fused:
        assert by_score({one.chunk: scores[one.chunk][0]}, {one.chunk: scores[one.chunk][1]}, weighing) == [one]


@given(COSINES, COSINES, SHARES, SHARES, WEIGHINGS)
def test_a_fused_score_rises_with_each_of_its_parts(cosine: float, other: float, share: float, less: float, weighing: Weighing) -> None:
    high, low = (max(cosine, other), max(share, less)), (min(cosine, other), min(share, less))
    assert weighing.score(*high) >= weighing.score(*low)


def test_the_default_score_is_half_the_calibrated_cosine_and_half_the_share() -> None:
    assert Weighing().score(0.6, 0.4) == 0.5
    assert Weighing(mean=0.5).score(0.75, 0.25) == 0.375
    assert Weighing(0.2, 0.5).scored("a", 1.0, 0.5).score == pytest.approx(0.6)


def test_the_mean_cosine_is_that_of_all_pairs() -> None:
    assert mean_cosine(1.0, 5) == LARGEST_MEAN
    assert (mean_cosine(0.9, 1), mean_cosine(0.0, 0), mean_cosine(0.5, 2)) == (0.0, 0.0, 0.0)
    assert mean_cosine(0.75, 2) == 0.5


def test_a_language_that_the_model_does_not_know_counts_by_words() -> None:
    assert default_weight("minilm", {"en": 3, "": 1}) == 0.5
    assert default_weight("minilm", {"de": 7}) == pytest.approx(0.2)
    assert default_weight("minilm", {"de": 1, "en": 2}) == pytest.approx(0.4)
    assert default_weight("another", {"de": 7}) == default_weight("minilm", {}) == 0.5


@given(SCORES, WEIGHINGS)
def test_reciprocal_ranks_keep_every_chunk_of_either_side(scores: dict[str, tuple[float, float]], weighing: Weighing) -> None:
    cosines = {chunk: cosine for chunk, (cosine, _) in scores.items()}
    shares = {chunk: share for chunk, (_, share) in scores.items() if share}
    nearest, wordy = sorted(cosines, key=lambda c: -cosines[c]), sorted(shares, key=lambda c: -shares[c])
    fused = by_rank(nearest, wordy, cosines, shares, weighing)
    assert {one.chunk for one in fused} == scores.keys()
    for one in fused:
        of_words = 2 * (1 - weighing.weight) / (61 + wordy.index(one.chunk)) if one.chunk in shares else 0.0
        assert one.score == pytest.approx(2 * weighing.weight / (61 + nearest.index(one.chunk)) + of_words)


def test_of_one_parent_the_best_candidate_stays() -> None:
    found = [candidate("a", 0.9, parent="p"), candidate("b", 0.8), candidate("c", 0.7, parent="p"), candidate("d", 0.6)]
    assert [one.chunk for one in once(found)] == ["a", "b", "d"]


# cursors

POSITIONS = st.builds(Position, st.integers(0, 10_000), st.floats(-2, 2), st.text("0123456789abcdef", min_size=32, max_size=32))
REQUEST = SearchRequest("how often", ("user:jo",), top=3)


def read(written: str, tenant: str = "acme", generation: int = 7, **changed: Any) -> Position | None:
    return cursor.read(tenant, generation, SearchRequest(**{"query": "how often", "principals": ["user:jo"], "cursor": written, **changed}))


@given(POSITIONS)
def test_a_cursor_is_read_as_it_was_written_whatever_the_size_of_the_page(position: Position) -> None:
    written = cursor.write("acme", 7, REQUEST, position)
    assert written.isascii()
    assert read(written, top=50, explain=True, expand="section") == position
    assert read("") is None


@pytest.mark.parametrize(
    "changed",
    [
        {"tenant": "globex"},
        {"generation": 8},
        {"query": "how seldom"},
        {"principals": ["user:kim"]},
        {"principals": []},
        {"mode": "vector"},
        {"filters": Filters(path="/a")},
        {"fusion": "rrf"},
        {"weight": 0.5},
        {"least": 0.1},
    ],
    ids=repr,
)
def test_a_cursor_of_another_request_tenant_or_generation_is_refused(changed: dict[str, Any]) -> None:
    written = cursor.write("acme", 7, REQUEST, Position(3, 0.5, "c" * 32))
    with pytest.raises(HeadraceError) as refused:
        read(written, **changed)
    assert (refused.value.reason, bool(refused.value.remedy)) == ("bad-cursor", True)


@given(st.one_of(st.text(max_size=90), st.binary(max_size=90).map(lambda raw: raw.hex())))
def test_what_is_no_cursor_is_refused(written: str) -> None:
    with pytest.raises(HeadraceError) as refused:
        read(written or "x")
    assert refused.value.reason == "bad-cursor"


@given(POSITIONS, st.integers(0, 40), st.sampled_from("AZaz09-_"))
def test_a_cursor_that_was_changed_anywhere_is_refused(position: Position, at: int, other: str) -> None:
    written = cursor.write("acme", 7, REQUEST, position)
    changed = written[:at] + other + written[at + 1 :]
    if changed != written:
        with pytest.raises(HeadraceError):
            read(changed)


@pytest.mark.parametrize("given", [{"cursor": 7}, {"cursor": "x", "rerank": True}, {"cursor": "x", "diversity": 0.5}], ids=repr)
def test_a_cursor_is_text_and_of_an_answer_in_the_order_of_its_scores(given: dict[str, Any]) -> None:
    with pytest.raises(HeadraceError) as refused:
        SearchRequest("q", **given)
    assert refused.value.reason == "bad-cursor"
