"""The way in: what is wanted, and the model as its users hold it, checked at once and loaded when it is first needed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import Literal

from embedders import models, recipe
from embedders.backend import Backend, Item, Kind, Vectors
from embedders.choice import About, Candidate, Origin, pick
from embedders.engine import Embedded, Engine, Result
from embedders.http_backend import Endpoint, HttpBackend
from embedders.http_backend import identity as endpoint_identity
from embedders.recipe import Recipe
from embedders.refusal import Refusal


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headrace" / "embedders"


@dataclass(frozen=True)
class Wanted:
    """What is configured. `auto` is the fastest on this machine that gives the model's vectors.

    `dimension` keeps the first so many components, for models that were trained for it (Matryoshka); `batch_tokens` is of one batch,
    padding included, the backend's own best where it is None. `cache` is for what is made from a model: converted forms, reference
    vectors, measured choices. With an `endpoint`, `model` is the one whose tokenizer counts.
    """

    model: str = models.MINILM
    revision: str | None = None
    dimension: int | None = None
    backend: Literal["auto", "torch", "openvino", "http"] = "auto"
    device: str = "auto"
    precision: Literal["auto", "f32", "bf16", "f16"] = "auto"
    batch_tokens: int | None = None
    cache: Path = field(default_factory=_cache)
    endpoint: Endpoint | None = None


def load(wanted: Wanted) -> Embedder:
    """The model's files found, checked and hashed; it is loaded when it is first needed.

    Raises Refusal: `model-not-found`, `model-hash-mismatch`, `unsafe-weights`, `hub-unreachable`, `bad-backend`.
    """
    if (wanted.endpoint is not None) != (wanted.backend == "http"):
        raise Refusal("bad-backend", f"an endpoint and backend http belong together; the backend was: {wanted.backend}")
    model = models.find(wanted.model, wanted.revision, weights=wanted.endpoint is None)
    return Embedder(model.truncated(wanted.dimension) if wanted.dimension else model, wanted)


class Embedder:
    """A model. Threads may share it. Close it when done.

    Whatever needs the model may raise Refusal: `model-not-loadable`, `reference-mismatch`, `no-such-device`, `bad-backend`, and of an
    endpoint what `http_backend` says.
    """

    def __init__(self, model: models.Model, wanted: Wanted) -> None:
        self._model, self._wanted = model, wanted
        self._loading = RLock()
        self._opened: tuple[Engine, About] | None = None

    @cached_property
    def identity(self) -> str:
        """32 hex characters over everything that decides the vectors. Of files it costs no loading; an endpoint is asked."""
        if self._wanted.endpoint is None:
            return self._model.identity
        return endpoint_identity(self._wanted.endpoint, self.tokenizer_identity, self._recipe.prompts, self._wanted.revision)

    @property
    def tokenizer_identity(self) -> str:
        """32 hex characters over the files that decide how many tokens a text has. Costs no loading."""
        return self._model.tokenizer_identity

    @property
    def dimension(self) -> int:
        """Of the vectors."""
        return self._recipe.dimension or self._engine.dimension

    @property
    def max_tokens(self) -> int:
        """The longest text the model reads, in its tokens, special tokens and prompt included."""
        return self._recipe.max_tokens

    @property
    def about(self) -> About:
        """What computes. Loads the model."""
        return self._open()[1]

    @property
    def backend(self) -> Backend:
        """For measuring it alone."""
        return self._engine.backend

    def count_tokens(self, texts: Sequence[str], kind: Kind = "passage") -> list[int]:
        """Tokens that the model would read of each text, special tokens and prompt included, nothing truncated."""
        return self._recipe.count(texts, kind)

    def encode(self, texts: Sequence[str], kind: Kind) -> Vectors:
        """(n, dimension) float32 of unit length, in the order of the texts. Raises the first refused text's Refusal."""
        embedded = self.embed(texts, kind)
        if embedded.errors:
            raise embedded.errors[min(embedded.errors)]
        return embedded.vectors

    def embed(self, texts: Sequence[str], kind: Kind) -> Embedded:
        """All of them, failures (`text-too-long`, a device or an endpoint that failed) beside successes."""
        return self._engine.embed(texts, kind)

    def stream(self, texts: Iterable[str], kind: Kind, linger_s: float = 0.05) -> Iterator[Result]:
        """One result a text, in order, as they are ready, with bounded memory. See `Engine.stream`."""
        return self._engine.stream(texts, kind, linger_s)

    def planned(self, texts: Sequence[str], kind: Kind) -> list[list[Item]]:
        """The batches that `embed` would compute: for measuring the backend alone."""
        return self._engine.planned(texts, kind)

    def close(self) -> None:
        with self._loading:
            if self._opened:
                self._opened[0].close()
            self._opened = None

    @property
    def _engine(self) -> Engine:
        return self._open()[0]

    def _open(self) -> tuple[Engine, About]:
        with self._loading:
            if self._opened is None:
                self._opened = self._over_http() if self._wanted.endpoint else self._here()
            return self._opened

    def _here(self) -> tuple[Engine, About]:
        return pick(self._origin, Candidate(self._wanted.backend, self._wanted.device, self._wanted.precision), self._wanted.batch_tokens)

    def _over_http(self) -> tuple[Engine, About]:
        endpoint = self._wanted.endpoint
        assert endpoint
        backend = HttpBackend(endpoint)
        return Engine(self._recipe, backend), About(backend.name, backend.device, backend.precision, "as configured")

    @cached_property
    def _recipe(self) -> Recipe:
        with self._loading:
            return recipe.of_tokenizer(self._model.folder) if self._wanted.endpoint else self._origin.recipe

    @cached_property
    def _origin(self) -> Origin:
        return Origin(self._model.folder, self._model.identity, self._wanted.dimension, _writable(self._wanted.cache))


def _writable(cache: Path) -> Path:
    """The cache, or where it cannot be written a folder of this process alone: what is made is then made at every start."""
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            return cache
    except OSError:
        return Path(tempfile.mkdtemp(prefix="headrace-embedders-"))
