"""The embedding model for the pipeline: configuration and frames in, frames out, refusals translated into Headrace's errors.

This is the only module of the folder that knows `core` (config, errors, frames, records); the others run without the rest of Headrace.
How vectors are computed belongs in the other modules, how they are stored in `index`, and which documents wait or fail in
`pipelines.stages`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import pairwise
from math import ceil
from pathlib import Path

import numpy as np
import polars as pl

import embedders
from core.config import Embedding, Reranking
from core.errors import ConfigurationError, DocumentError, HeadraceError, Unavailable
from core.records import EmbeddingModel
from embedders import Embedded, EmbedderOptions, Endpoint, Kind, Refusal, Vectors
from embedders.refusal import OF_A_TEXT
from embedders.reranking import EndpointJudge, Judge, ModelJudge

QUERY_PARTS = 16
"""The most parts of a query that is longer than what the model reads."""

PROBE_TEXT = "The headrace leads water to the wheel."
"""A harmless text: if it fails too, the server is unavailable."""


class Embedder:
    """The configured model. Its files are verified at once; the model is loaded when first needed and then stays warm.

    Threads may share it. Every method may raise ConfigurationError if the model cannot be loaded or its endpoint rejects every request,
    and Unavailable if the endpoint, the device or the model's hub is unavailable.
    """

    def __init__(self, embedder: embedders.Embedder, embedding: Embedding) -> None:
        self._embedder = embedder
        self.model = EmbeddingModel(embedder.identity, _model_name(embedding), embedding.revision)
        """The model as a generation records it."""

    @property
    def identity(self) -> str:
        """Hash of the files that decide the vectors and of the revision, 32 hex characters. Loads no model."""
        return self.model.identity

    @property
    def tokenizer_identity(self) -> str:
        """Hash of the files that decide token counts, 32 hex characters. Loads no model."""
        return self._embedder.tokenizer_identity

    @property
    def dimension(self) -> int:
        """The vectors' dimension."""
        with _refusals_translated():
            return self._embedder.dimension

    @property
    def max_tokens(self) -> int:
        """The model's token limit for a text, special tokens and prompt included."""
        with _refusals_translated():
            return self._embedder.max_tokens

    @property
    def about(self) -> Mapping[str, str]:
        """The selected `backend`, `device` and `precision`, and `why`. Loads the model."""
        with _refusals_translated():
            return asdict(self._embedder.selection)

    def check_limit(self, max_tokens: int) -> None:
        """Raise ConfigurationError if chunks of `max_tokens` are too long for this model."""
        if max_tokens > self.max_tokens:
            raise ConfigurationError(f"chunking.max_tokens must be at most the model's {self.max_tokens}, was: {max_tokens}")

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text as a passage, special tokens and prompt included, without truncating."""
        with _refusals_translated():
            return self._embedder.count_tokens(texts)

    def encode(self, texts: Sequence[str], kind: Kind) -> Vectors:
        """Return (n, dimension) float32 of unit length, in the order of the texts. Raises the first failed text's error (`error_of`).

        A query that is longer than what the model reads is embedded in parts, up to `QUERY_PARTS`; its vector is their mean's direction.
        """
        found = self.embed(texts, kind)
        for at in sorted(found.errors):
            if kind != "query" or found.errors[at].reason != "text-too-long":
                raise error_of(found.errors[at])
            found.vectors[at] = self._mean_of_parts(texts[at], found.errors[at])
        return found.vectors

    def _mean_of_parts(self, query: str, refusal: Refusal) -> Vectors:
        [tokens] = self._embedder.count_tokens([query], "query")
        for number in range(ceil(tokens / self.max_tokens), min(QUERY_PARTS, len(query.split())) + 1):
            found = self.embed(_parts(query, number), "query")
            if not found.errors:
                mean: Vectors = found.vectors.mean(axis=0)
                return mean / np.linalg.norm(mean)
        raise error_of(refusal)

    def embed(self, texts: Sequence[str], kind: Kind = "passage") -> Embedded:
        """Embed all texts: vectors, (n, dimension) float32 of unit length, and refusals beside them."""
        with _refusals_translated():
            return self._embedder.embed(texts, kind)

    def close(self) -> None:
        self._embedder.close()


def _parts(query: str, number: int) -> list[str]:
    """So many runs of about equally many words."""
    words = query.split()
    bounds = [len(words) * at // number for at in range(number + 1)]
    return [" ".join(words[start:end]) for start, end in pairwise(bounds)]


def load(embedding: Embedding, cache_dir: Path | None = None) -> Embedder:
    """Find, verify and hash the configured model. Converted models are cached below `cache_dir`, by default in the user's cache.

    Raises ConfigurationError: `model-not-found`, `model-hash-mismatch`, `unsafe-weights`, `bad-endpoint`; Unavailable if the model's hub
    or its endpoint does not answer.
    """
    with _refusals_translated():
        return Embedder(embedders.load(_options(embedding, cache_dir)), embedding)


class Reranker:
    """The configured reranker, as `retrieval.rerank` has it. Threads may share it."""

    def __init__(self, judge: Judge, reranking: Reranking) -> None:
        self._judge, self._timeout_s = judge, reranking.timeout_s
        self.candidates = reranking.candidates

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """Raises HeadraceError, `reranker-timed-out` among others."""
        with _refusals_translated():
            return self._judge.scores(query, texts, self._timeout_s)

    def close(self) -> None:
        self._judge.close()


def load_reranker(reranking: Reranking) -> Reranker | None:
    """The configured reranker; None if there is none. A model's files are verified; it is loaded when it is first asked.

    Raises ConfigurationError: `model-not-found`, `unsafe-weights`, `bad-endpoint`; Unavailable if the model's hub does not answer.
    """
    endpoint = reranking.endpoint
    with _refusals_translated():
        if endpoint.url:
            key = endpoint.api_key.get_secret_value() if endpoint.api_key else None
            judge: Judge = EndpointJudge(endpoint.url, endpoint.protocol, endpoint.model, key, reranking.timeout_s)
        elif reranking.model:
            judge = ModelJudge(reranking.model, reranking.revision)
        else:
            return None
    return Reranker(judge, reranking)


def error_of(refusal: Refusal) -> HeadraceError:
    """Translate a text's refusal: Unavailable if transient, DocumentError if the text causes it, otherwise ConfigurationError."""
    if refusal.reason in OF_A_TEXT and not refusal.transient:
        return DocumentError(refusal.detail, reason=refusal.reason, remedy=refusal.remedy)
    return _of_the_model(refusal)


def embed(frame: pl.DataFrame, embedder: Embedder, tally: Counter[str]) -> pl.DataFrame:
    """A `core.frames.TEXTS` frame → `text_hash`, `embedding`, `token_count`, `reason`, `detail`, in the same order.

    `embedding` is (dimension,) float32 of unit length, or null with a `reason`, which is `unavailable` for a transient failure.
    The tally counts `embedded` texts, the `tokens` computed, `padded_tokens` with padding, and `milliseconds`.
    Raises Unavailable if nothing can be embedded now, and ConfigurationError if the texts are not the cause: neither an unavailable
    server nor a wrong key dead-letters a document.
    """
    work = _Batch(frame["text"].to_list(), embedder, tally)
    if frame.height:
        work.embed(range(frame.height))
    tally["embedded"] += frame.height - len(work.errors)
    return work.frame(frame["text_hash"])


class _Batch:
    """Texts being embedded: each one's vector and token count so far, or its error.

    `core.ledger.bisection` does not fit: it isolates rows on which a stage raises, down to single rows. Here failures are returned beside
    the results and are transient, so that halving is worth its requests only as long as it reduces them.
    """

    def __init__(self, texts: Sequence[str], embedder: Embedder, tally: Counter[str]) -> None:
        self._texts, self._embedder, self._tally = texts, embedder, tally
        self._vectors = np.zeros((len(texts), embedder.dimension), dtype=np.float32)
        self._counts = [0] * len(texts)
        self.errors: dict[int, HeadraceError] = {}

    def embed(self, indices: Sequence[int]) -> None:
        failed = self._attempt(indices)
        if failed and len(failed) == len(indices):
            self._raise_if_unavailable()
        if failed and len(indices) > 1:
            self._bisect(failed)

    def _bisect(self, indices: Sequence[int]) -> None:
        """Retry in two halves as long as that helps, so that a text on which the server always fails does not fail others."""
        half = len(indices) // 2
        failed = [self._attempt(part) for part in (indices[:half], indices[half:])]
        for part in failed if sum(map(len, failed)) < len(indices) else ():
            if part:
                self._bisect(part)

    def _attempt(self, indices: Sequence[int]) -> list[int]:
        """Embed these texts. Returns the indices that failed transiently."""
        found = self._embedder.embed([self._texts[at] for at in indices])
        self._tally.update(tokens=found.tokens, padded_tokens=found.padded_tokens, milliseconds=ceil(found.seconds * 1000))
        for number, at in enumerate(indices):
            self._vectors[at], self._counts[at] = found.vectors[number], found.counts[number]
            self.errors.pop(at, None)
        self.errors |= {indices[number]: error_of(refusal) for number, refusal in found.errors.items()}
        _raise_first(error for error in self.errors.values() if isinstance(error, ConfigurationError))
        return [at for at in indices if isinstance(self.errors.get(at), Unavailable)]

    def _raise_if_unavailable(self) -> None:
        """After all texts failed, raise the error of `PROBE_TEXT` if it fails too."""
        _raise_first(error_of(refusal) for refusal in self._embedder.embed([PROBE_TEXT]).errors.values())

    def frame(self, text_hash: pl.Series) -> pl.DataFrame:
        """The result frame of `embed`."""
        indices = range(len(text_hash))
        reasons = {at: Unavailable.reason if isinstance(error, Unavailable) else error.reason for at, error in self.errors.items()}
        details = {at: f"{error.detail} ({error.reason})" for at, error in self.errors.items()}
        columns = [
            text_hash,
            pl.Series("embedding", self._vectors, dtype=pl.Array(pl.Float32, self._vectors.shape[1])),
            pl.Series("token_count", self._counts, dtype=pl.Int64),
            pl.Series("reason", [reasons.get(at) for at in indices], dtype=pl.String),
            pl.Series("detail", [details.get(at) for at in indices], dtype=pl.String),
        ]
        return pl.DataFrame(columns).with_columns(embedding=pl.when(pl.col("reason").is_null()).then("embedding"))


def _raise_first(errors: Iterable[HeadraceError]) -> None:
    for error in errors:
        raise error


def _options(embedding: Embedding, cache_dir: Path | None) -> EmbedderOptions:
    options = EmbedderOptions(
        model=embedding.model,
        revision=embedding.revision,
        dimension=embedding.dimension,
        backend=embedding.backend,
        device=embedding.device,
        precision=embedding.precision,
        batch_tokens=embedding.batch_tokens,
        endpoint=_endpoint(embedding),
    )
    return replace(options, cache=cache_dir.absolute() / "embedders") if cache_dir else options


def _endpoint(embedding: Embedding) -> Endpoint | None:
    endpoint = embedding.endpoint
    if endpoint.url is None:
        return None
    return Endpoint(
        url=endpoint.url,
        protocol=endpoint.protocol,
        model=endpoint.model or embedding.model,
        api_key=endpoint.api_key.get_secret_value() if endpoint.api_key else None,
        dimension=embedding.dimension,
        batch_texts=endpoint.batch_texts,
        concurrency=endpoint.concurrency,
        timeout_s=endpoint.timeout_s,
    )


def _model_name(embedding: Embedding) -> str:
    """The model's name with all other settings that decide its vectors: under the same name, only its files can differ."""
    endpoint = embedding.endpoint
    parts = [embedding.model]
    parts += [f"at {endpoint.protocol}:{endpoint.model or embedding.model}"] if endpoint.url else []
    parts += [f"to {embedding.dimension} dimensions"] if embedding.dimension else []
    return " ".join(parts)


def _of_the_model(refusal: Refusal) -> HeadraceError:
    kind: type[HeadraceError] = Unavailable if refusal.transient else ConfigurationError
    return kind(refusal.detail, reason=refusal.reason, remedy=refusal.remedy)


@contextmanager
def _refusals_translated() -> Iterator[None]:
    """Raise Headrace's errors for refusals."""
    try:
        yield
    except Refusal as refusal:
        raise _of_the_model(refusal) from refusal
