"""The embedding model at the pipeline's edge: configuration and frames on one side, `embedders` on the other, its refusals as our errors.

How vectors are computed is `embedders`' affair, where they are kept is `index`'; which documents wait or fail is
`pipelines.stages.registry`'s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import ceil
from pathlib import Path

import numpy as np
import polars as pl

import embedders
from core.config import Embedding
from core.errors import ConfigurationError, DocumentError, HeadraceError, Unavailable
from core.records import EmbeddingModel
from embedders import Embedded, Endpoint, Kind, Refusal, Vectors, Wanted
from embedders.refusal import OF_A_TEXT

HARMLESS = "The headrace leads water to the wheel."
"""A text that no server fails on."""


class Embedder:
    """The configured model. Its files are checked at once, the model itself is loaded when it is first needed and then stays warm.

    Threads may share it. Every method may raise ConfigurationError where the model cannot be loaded or its endpoint takes nothing from
    us, and Unavailable where the endpoint, the device or the model's hub is away.
    """

    def __init__(self, embedder: embedders.Embedder, embedding: Embedding) -> None:
        self._embedder = embedder
        self.model = EmbeddingModel(embedder.identity, _called(embedding), embedding.revision)
        """Which model it is, as a generation remembers it."""

    @property
    def identity(self) -> str:
        """32 hex characters over the files that decide the vectors, and the revision. Costs no loading."""
        return self.model.identity

    @property
    def tokenizer_identity(self) -> str:
        """32 hex characters over the files that decide how many tokens a text has. Costs no loading."""
        return self._embedder.tokenizer_identity

    @property
    def dimension(self) -> int:
        """Of the vectors."""
        with _translated():
            return self._embedder.dimension

    @property
    def max_tokens(self) -> int:
        """The longest text the model reads, in its tokens, special tokens and prompt included."""
        with _translated():
            return self._embedder.max_tokens

    @property
    def about(self) -> Mapping[str, str]:
        """What computes: `backend`, `device`, `precision`, and `why` these. Loads the model."""
        with _translated():
            about = self._embedder.about
        return {"backend": about.backend, "device": about.device, "precision": about.precision, "why": about.why}

    def check_limit(self, max_tokens: int) -> None:
        """Raises ConfigurationError where chunks of `max_tokens` would be too long for this model."""
        if max_tokens > self.max_tokens:
            raise ConfigurationError(f"chunking.max_tokens must be at most the model's {self.max_tokens}, was: {max_tokens}")

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens that the model would read of each text as a passage, special tokens and prompt included, nothing truncated."""
        with _translated():
            return self._embedder.count_tokens(texts)

    def encode(self, texts: Sequence[str], kind: Kind) -> Vectors:
        """(n, dimension) float32 of unit length, in the order of the texts. Raises the first failing text's error (`error_of`)."""
        found = self.embed(texts, kind)
        if found.errors:
            raise error_of(found.errors[min(found.errors)])
        return found.vectors

    def embed(self, texts: Sequence[str], kind: Kind = "passage") -> Embedded:
        """Vectors, (n, dimension) float32 of unit length, with refusals beside them."""
        with _translated():
            return self._embedder.embed(texts, kind)

    def close(self) -> None:
        self._embedder.close()


def load(embedding: Embedding, cache_dir: Path | None = None) -> Embedder:
    """The configured model, its files found, checked and hashed. Converted models are kept below `cache_dir`, or the user's cache.

    Raises ConfigurationError: `model-not-found`, `model-hash-mismatch`, `unsafe-weights`, `bad-endpoint`; Unavailable: the model's hub or
    its endpoint does not answer.
    """
    with _translated():
        return Embedder(embedders.load(_wanted(embedding, cache_dir)), embedding)


def error_of(refusal: Refusal) -> HeadraceError:
    """A text's refusal: Unavailable where it may pass, DocumentError where it is the text's own, else ConfigurationError."""
    if refusal.reason in OF_A_TEXT and not refusal.transient:
        return DocumentError(refusal.detail, reason=refusal.reason, remedy=refusal.remedy)
    return _of_the_model(refusal)


def embed(frame: pl.DataFrame, embedder: Embedder, tally: Counter[str]) -> pl.DataFrame:
    """A `core.frames.TEXTS` frame → `text_hash`, `embedding`, `token_count`, `reason`, `detail`, in the same order.

    `embedding` is (dimension,) float32 of unit length, null where `reason` says why there is none: `unavailable` where it may pass.
    The tally counts `embedded` texts, `tokens` and, with padding, `padded_tokens` that were computed, and `milliseconds`.
    Raises Unavailable where nothing can be embedded now, and ConfigurationError where it is not the texts that are at fault: a server that
    is away or a wrong key makes no document a dead letter.
    """
    work = _Work(frame["text"].to_list(), embedder, tally)
    if frame.height:
        work.embed(range(frame.height))
    tally["embedded"] += frame.height - len(work.errors)
    return work.beside(frame["text_hash"])


class _Work:
    """Texts under way: each one's vector and count so far, or its error."""

    def __init__(self, texts: Sequence[str], embedder: Embedder, tally: Counter[str]) -> None:
        self._texts, self._embedder, self._tally = texts, embedder, tally
        self._vectors = np.zeros((len(texts), embedder.dimension), dtype=np.float32)
        self._counts = [0] * len(texts)
        self.errors: dict[int, HeadraceError] = {}

    def embed(self, places: Sequence[int]) -> None:
        again = self._embed_once(places)
        if again and len(again) == len(places):
            self._raise_if_away()
        if again and len(places) > 1:
            self._single_out(again)

    def _single_out(self, places: Sequence[int]) -> None:
        """Once more, in two halves, as long as that helps: one text on which a server fails every time must not take others with it."""
        half = len(places) // 2
        left = [self._embed_once(part) for part in (places[:half], places[half:])]
        for part in left if sum(map(len, left)) < len(places) else ():
            if part:
                self._single_out(part)

    def _embed_once(self, places: Sequence[int]) -> list[int]:
        """Gives those that failed in a way that may pass."""
        found = self._embedder.embed([self._texts[at] for at in places])
        self._tally.update(tokens=found.tokens, padded_tokens=found.padded_tokens, milliseconds=ceil(found.seconds * 1000))
        for number, at in enumerate(places):
            self._vectors[at], self._counts[at] = found.vectors[number], found.counts[number]
            self.errors.pop(at, None)
        self.errors |= {places[number]: error_of(refusal) for number, refusal in found.errors.items()}
        _raise_first(error for error in self.errors.values() if isinstance(error, ConfigurationError))
        return [at for at in places if isinstance(self.errors.get(at), Unavailable)]

    def _raise_if_away(self) -> None:
        """Not one text was embedded: does a harmless one fail too?"""
        _raise_first(error_of(refusal) for refusal in self._embedder.embed([HARMLESS]).errors.values())

    def beside(self, text_hash: pl.Series) -> pl.DataFrame:
        """The texts' hashes, and what each came to."""
        places = range(len(text_hash))
        reasons = {at: Unavailable.reason if isinstance(error, Unavailable) else error.reason for at, error in self.errors.items()}
        details = {at: f"{error.detail} ({error.reason})" for at, error in self.errors.items()}
        columns = [
            text_hash,
            pl.Series("embedding", self._vectors, dtype=pl.Array(pl.Float32, self._vectors.shape[1])),
            pl.Series("token_count", self._counts, dtype=pl.Int64),
            pl.Series("reason", [reasons.get(at) for at in places], dtype=pl.String),
            pl.Series("detail", [details.get(at) for at in places], dtype=pl.String),
        ]
        return pl.DataFrame(columns).with_columns(embedding=pl.when(pl.col("reason").is_null()).then("embedding"))


def _raise_first(errors: Iterable[HeadraceError]) -> None:
    for error in errors:
        raise error


def _wanted(embedding: Embedding, cache_dir: Path | None) -> Wanted:
    wanted = Wanted(
        model=embedding.model,
        revision=embedding.revision,
        dimension=embedding.dimension,
        backend=embedding.backend,
        device=embedding.device,
        precision=embedding.precision,
        batch_tokens=embedding.batch_tokens,
        endpoint=_endpoint(embedding),
    )
    return replace(wanted, cache=cache_dir.absolute() / "embedders") if cache_dir else wanted


def _endpoint(embedding: Embedding) -> Endpoint | None:
    told = embedding.endpoint
    if told.url is None:
        return None
    return Endpoint(
        url=told.url,
        protocol=told.protocol,
        model=told.model or embedding.model,
        api_key=told.api_key.get_secret_value() if told.api_key else None,
        dimension=embedding.dimension,
        batch_texts=told.batch_texts,
        concurrency=told.concurrency,
        timeout_s=told.timeout_s,
    )


def _called(embedding: Embedding) -> str:
    """The model's name with everything else in the configuration that decides its vectors, so that only its files are left to differ."""
    endpoint = embedding.endpoint
    parts = [embedding.model]
    parts += [f"at {endpoint.protocol}:{endpoint.model or embedding.model}"] if endpoint.url else []
    parts += [f"to {embedding.dimension} dimensions"] if embedding.dimension else []
    return " ".join(parts)


def _of_the_model(refusal: Refusal) -> HeadraceError:
    away = refusal.transient
    kind: type[HeadraceError] = Unavailable if away else ConfigurationError
    return kind(refusal.detail, reason=refusal.reason, remedy=refusal.remedy)


@contextmanager
def _translated() -> Iterator[None]:
    """Refusals as our errors."""
    try:
        yield
    except Refusal as refusal:
        raise _of_the_model(refusal) from refusal
