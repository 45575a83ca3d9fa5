"""The engine: order, batches, windows, lanes, failures. The backend is arithmetic, so that a test can place faults."""

from __future__ import annotations

import itertools
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel

from embedders.backend import Item, Vectors
from embedders.batches import Prefetcher, plan, windows
from embedders.engine import ATTEMPTS, Engine, Result
from embedders.recipe import Recipe
from embedders.refusal import Refusal

WORDS = [f"w{n}" for n in range(64)]
LIMIT = 40


def recipe() -> Recipe:
    tokenizer = Tokenizer(WordLevel({word: at for at, word in enumerate([*WORDS, "?"])}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return Recipe(tokenizer.to_str(), max_tokens=LIMIT, dimension=3, prompts={})


class Arithmetic:
    """A backend with predictable vectors, whose faults are a function of the batch."""

    name, device, precision, dimension, pads = "arithmetic", "cpu", "f32", 3, True

    def __init__(self, lanes: int = 2, batch_tokens: int = 60, fault: Callable[[Sequence[Item]], Vectors | None] = lambda _: None) -> None:
        self.lanes, self.batch_tokens, self._fault = lanes, batch_tokens, fault
        self.computed: list[list[str]] = []
        self.most_at_once = self._at_once = 0
        self._lock = threading.Lock()

    def prepare(self, items: Sequence[Item]) -> Sequence[Item]:
        return items

    def forward(self, prepared: Sequence[Item]) -> Vectors:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            self.computed.append([item.text for item in prepared])
        try:
            faulty = self._fault(prepared)
            return np.stack([vector(item.ids) for item in prepared]) if faulty is None else faulty
        finally:
            with self._lock:
                self._at_once -= 1

    def close(self) -> None: ...


def vector(ids: Sequence[int]) -> Vectors:
    raw = np.array([sum(ids) + 1, len(ids) + 1, ids[0] + 1 if ids else 1], dtype=np.float32)
    return np.asarray(raw / np.linalg.norm(raw), dtype=np.float32)


def expected(text: str) -> Vectors:
    return vector([WORDS.index(word) for word in text.split()])


def vector_in(result: Result) -> Vectors:
    assert result.vector is not None
    return result.vector


@pytest.fixture
def opened() -> Iterator[Callable[..., Engine]]:
    engines: list[Engine] = []

    def open_(*args: object, **settings: object) -> Engine:
        engines.append(Engine(recipe(), Arithmetic(*args, **settings)))  # type: ignore[arg-type]
        return engines[-1]

    yield open_
    for engine in engines:
        engine.close()


Open = Callable[..., Engine]
texts_of = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=LIMIT).map(" ".join), max_size=60)


# ── order ────────────────────────────────────────────────────────────────────────────────────────────────────


@given(texts=texts_of, lanes=st.integers(1, 4), batch_tokens=st.integers(1, 200))
@settings(max_examples=60, deadline=None)
def test_order_is_kept_whatever_the_batches(texts: list[str], lanes: int, batch_tokens: int) -> None:
    engine = Engine(recipe(), Arithmetic(lanes, batch_tokens))
    embedded, streamed = engine.embed(texts, "passage"), list(engine.stream(iter(texts), "passage", 0.01))
    engine.close()
    assert embedded.counts == [len(text.split()) for text in texts] == [result.tokens for result in streamed]
    for at, text in enumerate(texts):
        assert np.allclose(embedded.vectors[at], expected(text))
        assert np.allclose(vector_in(streamed[at]), expected(text))


@given(texts=texts_of, cuts=st.lists(st.integers(0, 60), max_size=5))
@settings(max_examples=30, deadline=None)
def test_any_split_gives_the_same(texts: list[str], cuts: list[int]) -> None:
    engine = Engine(recipe(), Arithmetic())
    bounds = [0, *sorted(min(cut, len(texts)) for cut in cuts), len(texts)]
    parts = [engine.embed(texts[start:end], "passage").vectors for start, end in itertools.pairwise(bounds)]
    assert (np.concatenate(parts) == engine.embed(texts, "passage").vectors).all()
    engine.close()


def test_callers_at_once_get_each_their_own(opened: Open) -> None:
    engine = opened(lanes=3)
    asked = [[f"w{(n * k) % 64} w{n % 64}" for k in range(40)] for n in range(24)]
    with ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(lambda texts: engine.embed(texts, "query").vectors, asked))
    for texts, vectors in zip(asked, answers, strict=True):
        assert np.allclose(vectors, [expected(text) for text in texts])


def test_no_more_batches_are_computed_at_once_than_there_are_lanes(opened: Open) -> None:
    engine = opened(3, 10, lambda _: sleep(0.002))
    with ThreadPoolExecutor(4) as callers:
        list(callers.map(lambda n: engine.embed([f"w{n} w{k}" for k in range(30)], "passage"), range(4)))
    assert engine.backend.most_at_once == 3  # type: ignore[attr-defined]


# ── batches ──────────────────────────────────────────────────────────────────────────────────────────────────


@given(lengths=st.lists(st.integers(0, 300), max_size=80), budget=st.integers(1, 1000), lanes=st.integers(1, 5))
def test_a_plan_takes_each_text_once_and_stays_within_the_budget(lengths: list[int], budget: int, lanes: int) -> None:
    batches = plan(lengths, budget, lanes)
    assert sorted(at for batch in batches for at in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[at] for at in batch) <= budget
    order = [lengths[at] for batch in batches for at in batch]
    assert order == sorted(order, reverse=True)


def test_no_lane_stands_idle_while_another_has_a_batch_that_could_be_shared() -> None:
    assert [len(batch) for batch in plan([10, 10, 10, 10], 1000, lanes=2)] == [2, 2]


def test_sorting_leaves_little_to_pad(opened: Open) -> None:
    rng = random.Random(1)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(1, LIMIT))) for _ in range(400)]
    embedded = opened(2, 240).embed(texts, "passage")
    assert embedded.padded_tokens < 1.1 * embedded.tokens


@given(st.lists(st.text(max_size=30), max_size=40), st.integers(1, 200))
def test_windows_are_the_texts_in_order(texts: list[str], characters: int) -> None:
    cut = list(windows(texts, characters))
    assert [text for window in cut for text in window] == texts
    assert all(cut) or not texts


# ── streams ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_slow_stream_does_not_wait_for_a_full_window(opened: Open) -> None:
    """The source yields its second text only after the first one's vector."""
    came = threading.Event()

    def source() -> Iterator[str]:
        yield "w1"
        assert came.wait(10)
        yield "w2"

    results = opened().stream(source(), "passage", 0.01)
    assert np.allclose(vector_in(next(results)), expected("w1"))
    came.set()
    assert np.allclose(vector_in(next(results)), expected("w2"))
    assert list(results) == []


def test_an_endless_stream_is_read_no_further_than_a_few_windows(opened: Open) -> None:
    read = itertools.count()
    engine = opened(1, 8)
    results = engine.stream((f"w{n % 64} w{n % 61}" for n in read), "passage", 0.01)
    for _ in range(50):
        next(results)
    deadline, before = monotonic() + 10, next(read)
    sleep(0.1)
    # each look takes one number itself
    while (now := next(read)) != before + 1:
        assert monotonic() < deadline, "the source is read without end"
        before = now
        sleep(0.1)
    results.close()  # type: ignore[attr-defined]


def test_an_exception_of_the_source_is_raised_after_its_results(opened: Open) -> None:
    def source() -> Iterator[str]:
        yield from ("w1", "w2")
        raise ConnectionError("cut")

    results = opened().stream(source(), "passage", 0.01)
    assert [np.allclose(vector_in(next(results)), expected(text)) for text in ("w1", "w2")] == [True, True]
    with pytest.raises(ConnectionError, match="cut"):
        next(results)


def test_a_closed_stream_is_read_no_further(opened: Open) -> None:
    read: list[int] = []

    def source() -> Iterator[str]:
        for n in itertools.count():
            read.append(n)
            yield f"w{n % 64}"

    results = opened(1, 4).stream(source(), "passage", 0.01)
    next(results)
    results.close()  # type: ignore[attr-defined]
    deadline = monotonic() + 5
    while monotonic() < deadline and _alive():
        sleep(0.01)
    assert not _alive()


def _alive() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "embedder-prefetch"]


def test_a_prefetcher_returns_the_items_that_arrive_in_time() -> None:
    gate = threading.Event()

    def source() -> Iterator[int]:
        yield 1
        gate.wait(10)
        yield 2

    prefetcher = Prefetcher(source(), depth=5)
    assert prefetcher.get(None) == [1]
    assert prefetcher.get(0.01) == []
    gate.set()
    assert prefetcher.get(None) == [2]
    assert prefetcher.get(None) == prefetcher.get(0) == []
    prefetcher.close()


# ── failures ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_text_that_fails_its_batch_fails_alone(opened: Open) -> None:
    def refuse_w13(items: Sequence[Item]) -> None:
        if any(item.text == "w13" for item in items):
            raise Refusal("endpoint-refused", "no")

    embedded = opened(2, 1000, refuse_w13).embed(WORDS, "passage")
    assert {at: error.reason for at, error in embedded.errors.items()} == {13: "endpoint-refused"}
    assert np.allclose(np.delete(embedded.vectors, 13, axis=0), [expected(word) for word in WORDS if word != "w13"])
    assert not embedded.vectors[13].any()


def test_a_text_without_tokens_is_refused_before_the_backend(opened: Open) -> None:
    engine = opened()
    embedded = engine.embed(["w1", " "], "passage")
    assert embedded.errors[1].reason == "no-tokens"
    assert engine.backend.computed == [["w1"]]  # type: ignore[attr-defined]


def test_a_failure_that_no_text_causes_is_not_bisected(opened: Open) -> None:
    def wrong_key(_: Sequence[Item]) -> None:
        raise Refusal("endpoint-misconfigured", "401")

    engine = opened(1, 1000, wrong_key)
    assert len(engine.embed(WORDS, "passage").errors) == len(WORDS)
    assert len(engine.backend.computed) == 1  # type: ignore[attr-defined]


def test_a_transient_failure_is_retried(opened: Open) -> None:
    attempts = Counter[str]()

    def twice(items: Sequence[Item]) -> None:
        attempts[items[0].text] += 1
        if attempts[items[0].text] < ATTEMPTS:
            raise Refusal("device-failed", "once more", transient=True)

    assert not opened(2, 8, twice).embed(WORDS, "passage").errors
    assert set(attempts.values()) == {ATTEMPTS}


def test_a_batch_that_keeps_failing_is_an_error_for_its_texts_only(opened: Open) -> None:
    def unavailable(items: Sequence[Item]) -> None:
        if items[0].text in WORDS[:8]:
            raise Refusal("device-failed", "gone", transient=True)

    embedded = opened(2, 1, unavailable).embed(WORDS, "passage")
    assert set(embedded.errors) == set(range(8))
    assert all(error.transient for error in embedded.errors.values())


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_a_vector_without_direction_is_an_error_of_its_text(opened: Open, value: float) -> None:
    def spoil(items: Sequence[Item]) -> Vectors:
        vectors = np.stack([vector(item.ids) for item in items])
        vectors[[item.text == "w5" for item in items]] = value
        return vectors

    embedded = opened(1, 1000, spoil).embed(WORDS, "passage")
    assert {at: error.reason for at, error in embedded.errors.items()} == {5: "bad-vector"}
    assert np.isfinite(embedded.vectors).all()


def test_a_bug_is_not_taken_for_a_failure_of_a_text(opened: Open) -> None:
    def broken(_: Sequence[Item]) -> None:
        raise TypeError("a fault")

    with pytest.raises(TypeError, match="a fault"):
        opened(1, 10, broken).embed(["w1"], "passage")
