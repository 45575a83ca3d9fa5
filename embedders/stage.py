"""The package's edge: the configured model as an `Embedder`, and the embed stage over a frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock

import polars as pl

from core.config import Embedding
from core.errors import ConfigurationError, DocumentError, HeadraceError, Unavailable
from embedders import models
from embedders.engine import Engine, Kind, Vectors
from embedders.refusal import Refusal

_KINDS: dict[str, type[HeadraceError]] = {"text-too-long": DocumentError, "hub-unreachable": Unavailable}


class Embedder:
    """The configured model. Its files are checked at once, the model itself is loaded when it is first needed and then stays warm.

    Threads may share it. Every method may raise ConfigurationError where the model cannot be loaded.
    """

    def __init__(self, model: models.Model, embedding: Embedding) -> None:
        self._model, self._embedding = model, embedding
        self._loading = Lock()
        self._loaded: Engine | None = None

    @property
    def identity(self) -> str:
        """32 hex characters over the files that decide the vectors, and the revision. Costs no loading."""
        return self._model.identity

    @property
    def tokenizer_identity(self) -> str:
        """32 hex characters over the files that decide how many tokens a text has. Costs no loading."""
        return self._model.tokenizer_identity

    @property
    def dimension(self) -> int:
        """Of the vectors."""
        return self._engine.dimension

    @property
    def max_tokens(self) -> int:
        """The longest text the model reads, in its tokens, special tokens and prompt included."""
        return self._engine.max_tokens

    def check_limit(self, max_tokens: int) -> None:
        """Raises ConfigurationError where chunks of `max_tokens` would be too long for this model."""
        if max_tokens > self.max_tokens:
            raise ConfigurationError(f"chunking.max_tokens must be at most the model's {self.max_tokens}, was: {max_tokens}")

    def count_tokens(self, texts: list[str]) -> list[int]:
        """Tokens that the model would read of each text as a passage, special tokens and prompt included, nothing truncated."""
        with _translated():
            return self._engine.count(texts)

    def encode(self, texts: Sequence[str], kind: Kind) -> Vectors:
        """(n, dimension) float32 of unit length, in the order of the texts.

        Raises DocumentError (`text-too-long`) where a text has more than `max_tokens`: nothing is truncated.
        """
        return self.encode_counted(texts, kind)[0]

    def encode_counted(self, texts: Sequence[str], kind: Kind) -> tuple[Vectors, list[int]]:
        """`encode`, and the token count of each text."""
        with _translated():
            return self._engine.encode(texts, kind)

    @property
    def _engine(self) -> Engine:
        with self._loading:
            if self._loaded is None:
                with _translated():
                    self._loaded = Engine(self._model.folder, self._embedding.device, self._embedding.batch_tokens)
            return self._loaded


def load(embedding: Embedding) -> Embedder:
    """The configured model, its files found, checked and hashed.

    Raises ConfigurationError: `model-not-found`, `model-hash-mismatch`, `unsafe-weights`; Unavailable: the hub does not answer.
    """
    with _translated():
        return Embedder(models.find(embedding.model, embedding.revision), embedding)


def embed(frame: pl.DataFrame, embedder: Embedder) -> pl.DataFrame:
    """A `core.frames.TEXTS` frame → `text_hash`, `embedding` (dimension,) float32 of unit length, `token_count`, in the same order.

    Raises DocumentError (`text-too-long`) where a text has more tokens than the model reads: chunks never have.
    """
    vectors, counts = embedder.encode_counted(frame["text"].to_list(), "passage")
    embedding = pl.Series("embedding", vectors, dtype=pl.Array(pl.Float32, embedder.dimension))
    return pl.DataFrame([frame["text_hash"], embedding, pl.Series("token_count", counts, dtype=pl.Int64)])


@contextmanager
def _translated() -> Iterator[None]:
    """The engine's refusals as our errors."""
    try:
        yield
    except Refusal as refusal:
        kind = _KINDS.get(refusal.reason, ConfigurationError)
        raise kind(refusal.detail, reason=refusal.reason, remedy=refusal.remedy) from refusal
