"""The models, worker processes and graph driver of one process, shared by its stages. Each is loaded on first use and stays warm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING

from core.config import Embedding, Endpoints, Settings
from core.errors import ConfigurationError, PolicyError, Unavailable
from core.policy import EmbeddingModel, Policy, Privacy, Reading

if TYPE_CHECKING:
    from chunkers import Chunker
    from embedders import Vectors
    from embedders.stage import Embedder, Reranker
    from graph import Extractor, Projection
    from parsers import WorkerPool
    from privacy import Redactor


class Models:
    """Close it, or use it as a context manager. Threads may share it."""

    def __init__(self, settings: Settings, endpoints: Endpoints) -> None:
        self._settings = settings
        self._endpoints = endpoints
        self._closing = ExitStack()
        self._loading = Lock()
        self._redactors: dict[Privacy, Redactor] = {}
        self._embedders: dict[EmbeddingModel, Embedder] = {}

    def __enter__(self) -> Models:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._closing.close()

    def warm(self, policy: Policy) -> None:
        """Load what takes seconds, and start a worker process."""
        with _translated(only_tenants=policy.reading.pdf != self._settings.reading.pdf):
            self.parsers.warm(policy.reading)
        self.redactor(policy.privacy).warm()
        self.chunker(policy).count_tokens(["warm"])
        self.embedder_of(policy.embedding).encode(["warm"], "passage")
        with suppress(Unavailable):  # the graph may come up later
            self.projection  # noqa: B018

    @cached_property
    def parsers(self) -> WorkerPool:
        from parsers import WorkerPool

        return self._closing.enter_context(WorkerPool(self._settings.parsing))

    def reading(self, reading: Reading) -> str:
        """The fingerprint of these reading settings. Raises ConfigurationError if they need docling's models and those are missing, and
        PolicyError if only a tenant's settings need them."""
        from parsers import fingerprint

        with _translated(only_tenants=reading.pdf != self._settings.reading.pdf):
            return fingerprint(reading, self._settings.parsing)

    def redactor(self, privacy: Privacy) -> Redactor:
        """One for each distinct privacy settings. Raises ConfigurationError, and PolicyError if only a tenant has these settings."""
        from privacy import Redactor

        with self._loading:
            if privacy not in self._redactors:
                with _translated(only_tenants=privacy != self._settings.privacy):
                    self._redactors[privacy] = Redactor(privacy)
            return self._redactors[privacy]

    @cached_property
    def embedder(self) -> Embedder:
        """The installation's."""
        return self._load(self._settings.embedding)

    def embedder_of(self, model: EmbeddingModel) -> Embedder:
        """One for each distinct model. Raises as `embedders.stage.load` does, but PolicyError if only a tenant has this model."""
        if model == self._settings.policy({}).embedding:
            return self.embedder
        with self._loading:
            if model not in self._embedders:
                with _translated(only_tenants=True):
                    self._embedders[model] = self._load(with_model(self._settings.embedding, model))
            return self._embedders[model]

    def _load(self, embedding: Embedding) -> Embedder:
        from embedders.stage import load

        embedder = load(embedding, self._settings.cache_dir)
        self._closing.callback(embedder.close)
        return embedder

    @cached_property
    def reranker(self) -> Reranker | None:
        """The installation's; None if none is configured. Raises as `embedders.stage.load_reranker` does."""
        from embedders.stage import load_reranker

        reranker = load_reranker(self._settings.reranking)
        if reranker:
            self._closing.callback(reranker.close)
        return reranker

    def chunker(self, policy: Policy) -> Chunker:
        """The tenant's chunker, which counts in its model's tokens. Its first document raises ConfigurationError if a chunk may be longer
        than what the model reads, and PolicyError if only a tenant has these settings."""
        from chunkers import Chunker

        chunking, embedder = policy.chunking, self.embedder_of(policy.embedding)
        max_tokens, own = chunking.max_tokens, self._settings.policy({})

        def count(texts: list[str]) -> list[int]:
            # here and not earlier, so that a run with nothing to do loads no model
            with _translated(only_tenants=(max_tokens, policy.embedding) != (own.chunking.max_tokens, own.embedding)):
                embedder.check_limit(max_tokens)
            return embedder.count_tokens(texts)

        def encode(texts: Sequence[str]) -> Vectors:
            return embedder.encode(texts, "passage")

        formats = {str(form): strategy for form, strategy in chunking.formats.items()}
        identities = embedder.tokenizer_identity, embedder.identity
        return Chunker(count, max_tokens, identities[0], chunking.strategy, formats, encode, identities[1], chunking.overlap)

    @cached_property
    def extractors(self) -> tuple[Extractor, ...]:
        """For the graph. Names are found only by a spaCy model: others recognise no products, works, events or laws."""
        from graph import extractors_for
        from privacy.models import kind_of

        model = self._settings.privacy.names_model
        return extractors_for(model if model and kind_of(model) == "spacy" else None)

    @cached_property
    def graph_fingerprint(self) -> str:
        from graph import fingerprint

        return fingerprint(self.extractors)

    @property
    def projection_fingerprint(self) -> str:
        from graph import projection_fingerprint

        return projection_fingerprint()

    @cached_property
    def projection(self) -> Projection:
        from graph import Projection

        projection = self._closing.enter_context(Projection(self._endpoints))
        projection.prepare()
        return projection


def with_model(embedding: Embedding, model: EmbeddingModel) -> Embedding:
    """The installation's settings with a tenant's model. At an endpoint, a model of another name is asked for by that name."""
    endpoint = embedding.endpoint if model.model == embedding.model else embedding.endpoint.model_copy(update={"model": None})
    return embedding.model_copy(update={**model.model_dump(), "endpoint": endpoint})


@contextmanager
def _translated(*, only_tenants: bool) -> Iterator[None]:
    """Raise PolicyError in place of ConfigurationError if only tenants' own settings need what is missing."""
    try:
        yield
    except ConfigurationError as error:
        if not only_tenants:
            raise
        raise PolicyError(error.detail, remedy=error.remedy) from None
