"""What reorders and completes the passages that were found: rerankers, diversity, the text around, and where terms stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import HeadraceError
from core.terms import terms
from retrieval.citations import Passage
from retrieval.collapse import passage
from retrieval.diversity import diverse
from retrieval.expansion import MOST_TOKENS, Chunk, window
from retrieval.matched import highlights
from retrieval.request import SearchRequest
from retrieval.rerank import TIMED_OUT, relevance, rerank
from tests.retrieval.test_pipeline import candidate

ASKED = SearchRequest("a question", rerank=True)


@dataclass
class Judge:
    """A reranker that scores texts by a function of their length."""

    judged: Callable[[int], float] = float
    candidates: int = 50
    reason: str = ""
    too_many: int = 0

    def scores(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        if self.reason:
            raise HeadraceError("no", reason=self.reason)
        return [self.judged(len(text)) for text in texts] + [0.0] * self.too_many


def found(*texts: str) -> list[Passage]:
    return [passage(candidate(text, 1 - place / 10, text)) for place, text in enumerate(texts)]


def test_a_reranker_orders_the_best_passages_and_the_scores_stay() -> None:
    passages, reranked = rerank(Judge(candidates=3), ASKED, found("a", "bbb", "cc", "dddd"))
    assert ([one.chunk for one in passages], reranked) == (["bbb", "cc", "a", "dddd"], "yes")
    assert [one.score for one in passages] == [0.9, 0.8, 1.0, 0.7]
    assert [one.scores.reranked for one in passages][-1] is None
    assert relevance(passages) == [0.9, 0.8, 1.0, 0.7]
    assert relevance(passages[:3]) == [one.scores.reranked for one in passages[:3]]


@pytest.mark.parametrize(
    ("judge", "became"),
    [
        (Judge(reason=TIMED_OUT), "timed-out"),
        (Judge(reason="reranker-unavailable"), "failed"),
        (Judge(too_many=1), "failed"),
        (Judge(lambda _: float("nan")), "failed"),
        (Judge(lambda _: float("inf")), "failed"),
        (None, "no"),
    ],
)
def test_a_reranker_that_fails_or_takes_too_long_leaves_the_order_and_says_so(judge: Judge | None, became: str) -> None:
    passages = found("a", "bbb", "cc")
    assert rerank(judge, ASKED, passages) == (passages, became)


def test_nobody_is_asked_about_nothing_or_without_being_wanted() -> None:
    assert rerank(Judge(reason="x"), ASKED, []) == ([], "no")
    passages = found("a")
    assert rerank(Judge(reason="x"), SearchRequest("q"), passages) == (passages, "no")


# diversity

VECTORS = st.lists(st.lists(st.floats(-1, 1), min_size=3, max_size=3).filter(any), min_size=0, max_size=6)


@given(VECTORS, st.floats(0, 1))
def test_diversity_changes_only_the_order_and_keeps_the_best_first(given_vectors: list[list[float]], diversity: float) -> None:
    passages = found(*(str(n) for n in range(len(given_vectors))))
    units = {
        one.chunk: np.array(v, dtype=np.float32) / max(float(np.linalg.norm(v)), 1e-9)
        for one, v in zip(passages, given_vectors, strict=True)
    }
    order = diverse(passages, relevance(passages), units, diversity)
    assert sorted(one.chunk for one in order) == sorted(one.chunk for one in passages)
    assert order[:1] == passages[:1]
    assert diverse(passages, relevance(passages), units, 0.0) == passages


def test_what_says_the_same_as_a_better_one_comes_after_what_says_something_else() -> None:
    vectors = {"a": np.array([1.0, 0.0]), "b": np.array([1.0, 0.0]), "c": np.array([0.0, 1.0])}
    passages = found("a", "b", "c")
    assert [one.chunk for one in diverse(passages, relevance(passages), vectors, 0.5)] == ["a", "c", "b"]
    assert [one.chunk for one in diverse(passages, [5.0, 4.9, 0.0], vectors, 0.1)] == ["a", "b", "c"]


# the text around

CHUNKS = st.lists(st.integers(1, 900), min_size=1, max_size=9)


@given(CHUNKS, st.data())
def test_the_text_around_has_no_gap_and_no_more_tokens_than_allowed(tokens: list[int], data: st.DataObject) -> None:
    chunks = [Chunk(place + 4, f"{place}", (), count) for place, count in enumerate(tokens)]
    ordinal = data.draw(st.sampled_from([chunk.ordinal for chunk in chunks]))
    around = window(chunks, ordinal, lambda *_: True)
    ordinals = [chunk.ordinal for chunk in around]
    assert ordinal in ordinals
    assert ordinals == list(range(ordinals[0], ordinals[-1] + 1))
    assert sum(chunk.token_count for chunk in around) <= MOST_TOKENS
    for beside in (ordinals[0] - 1, ordinals[-1] + 1):
        left_out = [chunk for chunk in chunks if chunk.ordinal == beside]
        assert all(sum(c.token_count for c in around) + chunk.token_count > MOST_TOKENS for chunk in left_out)


# highlights


@pytest.mark.parametrize(
    ("text", "asked", "marked"),
    [
        ("The pumps, and a Pump.", {"pump"}, ["pumps", "Pump"]),
        ("Run wg-quick(8) up", {"wg-quick"}, ["wg-quick"]),
        ("see CVE-2024-3094.", {"cve-2024-3094", "cve"}, ["CVE-2024-3094"]),
        ("日本語の本", {"本語"}, ["本語"]),
        ("a/pump/b", {"pump"}, ["pump"]),
        ("İstanbul ﬁle pump", {"pump"}, ["pump"]),
        ("nothing here", {"pump"}, []),
        ("", {"pump"}, []),
        ("pump", set(), []),
    ],
)
def test_highlights_are_where_the_terms_stand(text: str, asked: set[str], marked: list[str]) -> None:
    stems = {word: word.removesuffix("s") for word in terms(text).words}
    assert [text[start:end] for start, end in highlights(text, stems, frozenset(asked))] == marked


@given(st.text(), st.sets(st.text(min_size=1, max_size=3), max_size=4))
def test_highlights_are_in_order_apart_and_inside_the_text(text: str, asked: set[str]) -> None:
    own = terms(text)
    wanted = frozenset({*asked, *own.names[:1], *own.pairs[:1], *own.words[:1]})
    spans = highlights(text, {word: word for word in own.words}, wanted)
    ends = [0, *(place for span in spans for place in span), len(text) + 1]
    assert ends == sorted(ends)
    assert all(start < end for start, end in spans)
    assert all(before[1] < after[0] for before, after in pairwise(spans))
