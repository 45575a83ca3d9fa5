"""The entry point: options, and the `Embedder`, whose files are verified at once and whose model is loaded when first needed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import Literal

from embedders import models, recipe
from embedders.backend import Backend, Item, Kind, Vectors
from embedders.choice import Candidate, Origin, Selection, select
from embedders.engine import Embedded, Engine, Result
from embedders.http_backend import Endpoint, HttpBackend
from embedders.http_backend import identity as endpoint_identity
from embedders.recipe import Recipe
from embedders.refusal import Refusal


@dataclass(frozen=True)
class EmbedderOptions:
    """Which model to load, and how. `auto` selects the fastest on this machine that computes the model's vectors.

    `dimension` keeps that many first components, for models trained for it (Matryoshka). `batch_tokens` limits a batch, padding included;
    None is the backend's own optimum. `cache` is a folder for what is derived from a model: converted forms, reference vectors, measured
    speeds. With an `endpoint`, `model` only counts tokens.
    """

    model: str = models.MINILM
    revision: str | None = None
    dimension: int | None = None
    backend: Literal["auto", "torch", "openvino", "http"] = "auto"
    device: str = "auto"
    precision: Literal["auto", "f32", "bf16", "f16"] = "auto"
    batch_tokens: int | None = None
    cache: Path = field(default_factory=models.default_cache)
    endpoint: Endpoint | None = None


def load(options: EmbedderOptions) -> Embedder:
    """Find, verify and hash the model's files. The model is loaded when first needed.

    Raises Refusal: `model-not-found`, `model-hash-mismatch`, `unsafe-weights`, `hub-unreachable`, `bad-backend`.
    """
    if (options.endpoint is not None) != (options.backend == "http"):
        raise Refusal("bad-backend", f"backend http and an endpoint require each other; the backend was: {options.backend}")
    model = models.find(options.model, options.revision, weights=options.endpoint is None, cache=options.cache)
    return Embedder(model.truncated(options.dimension) if options.dimension else model, options)


class Embedder:
    """A model. Threads may share it. Close it when done.

    Methods that need the model may raise Refusal: `model-not-loadable`, `reference-mismatch`, `compile-crashed`, `no-such-device`,
    `bad-backend`, and with an endpoint those of `http_backend`.
    """

    def __init__(self, model: models.Model, options: EmbedderOptions) -> None:
        self._model, self._options = model, options
        self._loading = RLock()
        self._loaded: tuple[Engine, Selection] | None = None

    @cached_property
    def identity(self) -> str:
        """Hash everything that decides the vectors, as 32 hex characters. Loads no model; may send a request to an endpoint."""
        if self._options.endpoint is None:
            return self._model.identity
        return endpoint_identity(self._options.endpoint, self.tokenizer_identity, self._recipe.prompts, self._options.revision)

    @property
    def tokenizer_identity(self) -> str:
        """Hash the files that decide token counts, as 32 hex characters. Loads no model."""
        return self._model.tokenizer_identity

    @property
    def dimension(self) -> int:
        """The vectors' dimension."""
        return self._recipe.dimension or self._engine.dimension

    @property
    def max_tokens(self) -> int:
        """The model's token limit for a text, special tokens and prompt included."""
        return self._recipe.max_tokens

    @property
    def selection(self) -> Selection:
        """The selected backend, device and precision. Loads the model."""
        return self._load()[1]

    @property
    def backend(self) -> Backend:
        """The backend, to measure it alone. Loads the model."""
        return self._engine.backend

    def count_tokens(self, texts: Sequence[str], kind: Kind = "passage") -> list[int]:
        """Count the tokens of each text, special tokens and prompt included, without truncating."""
        return self._recipe.count(texts, kind)

    def encode(self, texts: Sequence[str], kind: Kind) -> Vectors:
        """Return vectors, (n, dimension) float32 of unit length, in the order of the texts. Raises the first Refusal of a text."""
        embedded = self.embed(texts, kind)
        if embedded.errors:
            raise embedded.errors[min(embedded.errors)]
        return embedded.vectors

    def embed(self, texts: Sequence[str], kind: Kind) -> Embedded:
        """Embed all texts. Refusals (`text-too-long`, a failed device or endpoint) are returned beside the vectors."""
        return self._engine.embed(texts, kind)

    def stream(self, texts: Iterable[str], kind: Kind, linger_s: float = 0.05) -> Iterator[Result]:
        """Yield one result per text, in order, as they are ready, in bounded memory. See `Engine.stream`."""
        return self._engine.stream(texts, kind, linger_s)

    def planned(self, texts: Sequence[str], kind: Kind) -> list[list[Item]]:
        """The batches that `embed` would compute, to measure the backend alone."""
        return self._engine.planned(texts, kind)

    def close(self) -> None:
        with self._loading:
            if self._loaded:
                self._loaded[0].close()
            self._loaded = None

    @property
    def _engine(self) -> Engine:
        return self._load()[0]

    def _load(self) -> tuple[Engine, Selection]:
        with self._loading:
            if self._loaded is None:
                self._loaded = self._open_endpoint() if self._options.endpoint else self._open_model()
            return self._loaded

    def _open_model(self) -> tuple[Engine, Selection]:
        options = self._options
        return select(self._origin, Candidate(options.backend, options.device, options.precision), options.batch_tokens)

    def _open_endpoint(self) -> tuple[Engine, Selection]:
        endpoint = self._options.endpoint
        assert endpoint
        backend = HttpBackend(endpoint)
        return Engine(self._recipe, backend), Selection(backend.name, backend.device, backend.precision, "as configured")

    @cached_property
    def _recipe(self) -> Recipe:
        with self._loading:
            return recipe.of_tokenizer(self._model.folder) if self._options.endpoint else self._origin.recipe

    @cached_property
    def _origin(self) -> Origin:
        return Origin(self._model.folder, self._model.identity, self._options.dimension, _writable(self._options.cache))


def _writable(cache: Path) -> Path:
    """The cache folder, or a temporary one if it cannot be written; then every start derives everything again."""
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            return cache
    except OSError:
        return Path(tempfile.mkdtemp(prefix="headrace-embedders-"))
