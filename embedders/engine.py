"""Texts in, vectors out, whatever computes them: order, duplicates, limits, windows, lanes and retries are here, and only here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from embedders.backend import Backend, Item, Kind, Vectors
from embedders.batches import CHARACTERS_A_TOKEN, Ahead, arriving, plan, windows
from embedders.recipe import Recipe
from embedders.refusal import OF_A_TEXT, Refusal

BATCHES_A_LANE = 48
"""In a window. Measured for MiniLM on real texts: with 48 sorting leaves 1% to pad; a window is also what has to be held in memory."""

TRIES = 3
"""Of a batch whose failure may pass. A backend that knows how long to wait has waited already."""


@dataclass(frozen=True)
class Embedded:
    """`vectors` (n, dimension) float32 of unit length in the order of the texts, all zeros where `errors` has the text's place.

    `counts` are tokens as the model reads them, special tokens and prompt included. `tokens` and `padded_tokens` are what was computed:
    duplicates once, and each text as long as the longest of its batch.
    """

    vectors: Vectors
    counts: list[int]
    errors: dict[int, Refusal]
    tokens: int
    padded_tokens: int
    seconds: float


@dataclass(frozen=True)
class Result:
    """One text's vector, (dimension,) float32 of unit length, or why there is none."""

    vector: Vectors | None
    tokens: int
    error: Refusal | None


@dataclass
class _Window:
    """A window under way: which of its distinct items each text is, and the batches that are being computed."""

    places: list[int]
    items: list[Item]
    errors: dict[int, Refusal]
    batches: list[tuple[list[int], Future[list[Vectors | Refusal]]]] = field(default_factory=list)


class Engine:
    """A backend at work. Threads may share it: their batches queue for the same lanes.

    The same text gives the same vector within 1e-5 in each component in f32, and a cosine of at least .999 in bf16 and f16, whatever it
    was batched with and in whatever order. Nothing is ever truncated.
    """

    def __init__(self, recipe: Recipe, backend: Backend) -> None:
        self._recipe, self.backend = recipe, backend
        self._lanes = ThreadPoolExecutor(backend.lanes, thread_name_prefix="embedder-lane")
        self.dimension = backend.dimension

    def close(self) -> None:
        self._lanes.shutdown(wait=True, cancel_futures=True)
        self.backend.close()

    def embed(self, texts: Sequence[str], kind: Kind) -> Embedded:
        """All of them, failures beside successes. Reads ahead as `stream` does: nothing but the result grows with the texts."""
        started = perf_counter()
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        counts: list[int] = []
        errors: dict[int, Refusal] = {}
        tokens = padded = 0
        for window in self._windows(windows(texts, self._characters), kind):
            for at, result in enumerate(self._results(window), start=len(counts)):
                if result.error:
                    errors[at] = result.error
                elif result.vector is not None:
                    vectors[at] = result.vector
            counts += [len(window.items[place].ids) for place in window.places]
            tokens += sum(len(window.items[at].ids) for batch, _ in window.batches for at in batch)
            padded += sum(self._padded(window, batch) for batch, _ in window.batches)
        return Embedded(vectors, counts, errors, tokens, padded, perf_counter() - started)

    def stream(self, texts: Iterable[str], kind: Kind, linger_s: float) -> Iterator[Result]:
        """One result a text, in order, as soon as it and those before it are there; at most four windows are held at a time.

        A window closes when it is full, and at the latest `linger_s` after its first text came. What `texts` raises is raised here.
        """
        for window in self._windows(arriving(texts, self._characters, linger_s), kind):
            yield from self._results(window)

    def planned(self, texts: Sequence[str], kind: Kind) -> list[list[Item]]:
        """The batches that `embed` would compute of these texts: for measuring the backend alone."""
        found = [self._opened(window, kind) for window in windows(texts, self._characters)]
        return [[window.items[at] for at in batch] for window in found for batch in self._plan(window)]

    @property
    def _characters(self) -> int:
        return self.backend.batch_tokens * self.backend.lanes * BATCHES_A_LANE * CHARACTERS_A_TOKEN

    def _windows(self, texts: Iterator[list[str]], kind: Kind) -> Iterator[_Window]:
        """Windows whose batches are queued already: tokenizing runs ahead in its own thread while the lanes compute."""

        def begun() -> Iterator[_Window]:
            for window in texts:
                yield self._begin(self._opened(window, kind))

        with closing(Ahead(begun(), depth=2)) as ahead:
            yield from ahead

    def _opened(self, texts: Sequence[str], kind: Kind) -> _Window:
        distinct = {text: at for at, text in enumerate(dict.fromkeys(texts))}
        items = self._recipe.items(list(distinct), kind)
        refused = {at: refusal for at, item in enumerate(items) if (refusal := self._refusal(item))}
        return _Window([distinct[text] for text in texts], items, refused)

    def _refusal(self, item: Item) -> Refusal | None:
        if not item.ids:
            return Refusal("no-tokens", "a text has no tokens, and the model adds none of its own")
        if len(item.ids) > self._recipe.max_tokens:
            return Refusal("text-too-long", f"a text has {len(item.ids)} tokens, the model reads {self._recipe.max_tokens}")
        return None

    def _begin(self, window: _Window) -> _Window:
        for batch in self._plan(window):
            window.batches.append((batch, self._lanes.submit(self._computed, [window.items[at] for at in batch])))
        return window

    def _plan(self, window: _Window) -> list[list[int]]:
        fit = [at for at in range(len(window.items)) if at not in window.errors]
        lengths = [len(window.items[at].ids) for at in fit]
        return [[fit[at] for at in batch] for batch in plan(lengths, self.backend.batch_tokens, self.backend.lanes)]

    def _padded(self, window: _Window, batch: Sequence[int]) -> int:
        lengths = [len(window.items[at].ids) for at in batch]
        return len(batch) * max(lengths) if self.backend.pads else sum(lengths)

    def _results(self, window: _Window) -> Iterator[Result]:
        found: dict[int, Vectors | Refusal] = dict(window.errors)
        for batch, future in window.batches:
            found.update(zip(batch, future.result(), strict=True))
        for place in window.places:
            vector, tokens = found[place], len(window.items[place].ids)
            yield Result(None, tokens, vector) if isinstance(vector, Refusal) else Result(vector, tokens, None)

    def _computed(self, items: list[Item]) -> list[Vectors | Refusal]:
        """A vector or a refusal for each. A batch that fails for good is halved until those who are to blame stand alone."""
        try:
            return [_sound(vector) for vector in _tried(lambda: self.backend.forward(self.backend.prepare(items)))]
        except Refusal as refusal:
            if refusal.transient or refusal.reason not in OF_A_TEXT or len(items) == 1:
                return [refusal] * len(items)
        half = len(items) // 2
        return self._computed(items[:half]) + self._computed(items[half:])


def _tried(work: Callable[[], Vectors]) -> Vectors:
    for turn in range(1, TRIES + 1):
        try:
            return work()
        except Refusal as refusal:
            if not refusal.transient or turn == TRIES:
                raise
    raise AssertionError


def _sound(vector: Vectors) -> Vectors | Refusal:
    """A text whose vector is no direction fails alone; no such vector reaches an index, where it would be near to nothing, or to all."""
    sound = np.isfinite(vector).all() and vector.any()
    return vector if sound else Refusal("bad-vector", "the model gave a vector that is not finite, or all zeros")
