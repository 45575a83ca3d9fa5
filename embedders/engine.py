"""Texts → vectors on any backend. Order, duplicates, limits, windows, lanes and retries are handled here, and only here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from embedders.backend import Backend, Item, Kind, Vectors
from embedders.batches import CHARACTERS_PER_TOKEN, Prefetcher, plan, timed_windows, windows
from embedders.recipe import Recipe
from embedders.refusal import OF_A_TEXT, Refusal

BATCHES_PER_LANE = 48
"""In a window. Measured for MiniLM on real texts: with 48, sorting leaves 1% padding. Windows are kept in memory."""

ATTEMPTS = 3
"""For a batch that fails transiently. A backend that knows how long to wait has waited already."""


@dataclass(frozen=True)
class Embedded:
    """Vectors and, beside them, refusals.

    `vectors`: (n, dimension) float32 of unit length in the order of the texts; zeros for the indices in `errors`.
    `counts`: tokens of each text as the model reads it, special tokens and prompt included.
    `tokens`: tokens computed, duplicates once; `padded_tokens`: the same with padding.
    """

    vectors: Vectors
    counts: list[int]
    errors: dict[int, Refusal]
    tokens: int
    padded_tokens: int
    seconds: float


@dataclass(frozen=True)
class Result:
    """One text's vector, (dimension,) float32 of unit length, or its refusal."""

    vector: Vectors | None
    tokens: int
    error: Refusal | None


@dataclass
class _Window:
    """A window in flight: the distinct items, each text's index among them, and the batches being computed."""

    indices: list[int]
    items: list[Item]
    errors: dict[int, Refusal]
    batches: list[tuple[list[int], Future[list[Vectors | Refusal]]]] = field(default_factory=list)


class Engine:
    """Embeds texts with a backend. Threads may share it: their batches queue for the same lanes.

    A text's vector does not depend on order or on the other texts of its batch: it is the same within 1e-5 in each component in f32, and
    has a cosine of at least .999 in bf16 and f16. Nothing is ever truncated.
    """

    def __init__(self, recipe: Recipe, backend: Backend) -> None:
        self._recipe, self.backend = recipe, backend
        self._lanes = ThreadPoolExecutor(backend.lanes, thread_name_prefix="embedder-lane")
        self.dimension = backend.dimension

    def close(self) -> None:
        self._lanes.shutdown(wait=True, cancel_futures=True)
        self.backend.close()

    def embed(self, texts: Sequence[str], kind: Kind) -> Embedded:
        """Embed all texts, refusals beside vectors. Reads ahead as `stream` does: only the result grows with the number of texts."""
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
            counts += [len(window.items[index].ids) for index in window.indices]
            tokens += sum(len(window.items[at].ids) for batch, _ in window.batches for at in batch)
            padded += sum(self._padded(window, batch) for batch, _ in window.batches)
        return Embedded(vectors, counts, errors, tokens, padded, perf_counter() - started)

    def stream(self, texts: Iterable[str], kind: Kind, linger_s: float) -> Iterator[Result]:
        """Yield one result per text, in order, as soon as it and those before it are ready; at most four windows are in memory.

        A window closes when it is full, and at the latest `linger_s` after its first text arrived. Exceptions of `texts` are raised here.
        """
        for window in self._windows(timed_windows(texts, self._characters, linger_s), kind):
            yield from self._results(window)

    def planned(self, texts: Sequence[str], kind: Kind) -> list[list[Item]]:
        """The batches that `embed` would compute for these texts, to measure the backend alone."""
        found = [self._tokenized(window, kind) for window in windows(texts, self._characters)]
        return [[window.items[at] for at in batch] for window in found for batch in self._plan(window)]

    @property
    def _characters(self) -> int:
        return self.backend.batch_tokens * self.backend.lanes * BATCHES_PER_LANE * CHARACTERS_PER_TOKEN

    def _windows(self, texts: Iterator[list[str]], kind: Kind) -> Iterator[_Window]:
        """Windows whose batches are submitted: a background thread tokenizes ahead while the lanes compute."""

        def submitted() -> Iterator[_Window]:
            for window in texts:
                yield self._submit(self._tokenized(window, kind))

        with closing(Prefetcher(submitted(), depth=2)) as ready:
            yield from ready

    def _tokenized(self, texts: Sequence[str], kind: Kind) -> _Window:
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

    def _submit(self, window: _Window) -> _Window:
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
        for index in window.indices:
            vector, tokens = found[index], len(window.items[index].ids)
            yield Result(None, tokens, vector) if isinstance(vector, Refusal) else Result(vector, tokens, None)

    def _computed(self, items: list[Item]) -> list[Vectors | Refusal]:
        """Return a vector or a refusal for each item. A batch that fails permanently is bisected down to the texts that cause it."""
        try:
            return [_validated(vector) for vector in _with_retries(lambda: self.backend.forward(self.backend.prepare(items)))]
        except Refusal as refusal:
            if refusal.transient or refusal.reason not in OF_A_TEXT or len(items) == 1:
                return [refusal] * len(items)
        half = len(items) // 2
        return self._computed(items[:half]) + self._computed(items[half:])


def _with_retries(work: Callable[[], Vectors]) -> Vectors:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return work()
        except Refusal as refusal:
            if not refusal.transient or attempt == ATTEMPTS:
                raise
    raise AssertionError


def _validated(vector: Vectors) -> Vectors | Refusal:
    """Refuse a vector without direction: in an index it would be near nothing, or near everything."""
    valid = np.isfinite(vector).all() and vector.any()
    return vector if valid else Refusal("bad-vector", "the model returned a vector that is not finite, or all zeros")
