"""The heavy things a process holds once and warm: models, worker processes, the graph's driver. Each is made when first asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING

from core.config import Endpoints, Settings
from core.errors import ConfigurationError, PolicyError, Unavailable
from core.policy import Policy, Privacy, Reading

if TYPE_CHECKING:
    from chunkers import Chunker
    from embedders.stage import Embedder
    from graph import Extractor, Projection
    from parsers import WorkerPool
    from privacy import Redactor


class Models:
    """What the stages of one process share. Close it, or use it as a context manager."""

    def __init__(self, settings: Settings, endpoints: Endpoints) -> None:
        self._settings = settings
        self._endpoints = endpoints
        self._closing = ExitStack()
        self._loading = Lock()
        self._redactors: dict[Privacy, Redactor] = {}

    def __enter__(self) -> Models:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._closing.close()

    def warm(self, policy: Policy) -> None:
        """Load what takes seconds to begin, and start a worker process."""
        with _refusing(only_tenants=policy.reading.pdf != self._settings.reading.pdf):
            self.parsers.warm(policy.reading)
        self.redactor(policy.privacy).warm()
        self.chunker.count_tokens(["warm"])
        self.embedder.encode(["warm"], "passage")
        with suppress(Unavailable):  # the graph may come later
            self.projection  # noqa: B018

    @cached_property
    def parsers(self) -> WorkerPool:
        from parsers import WorkerPool

        return self._closing.enter_context(WorkerPool(self._settings.parsing))

    def reading(self, reading: Reading) -> str:
        """The fingerprint of reading so. Raises ConfigurationError where docling's models are wished for and are not there, and PolicyError
        where only a tenant wishes for them."""
        from parsers import fingerprint

        with _refusing(only_tenants=reading.pdf != self._settings.reading.pdf):
            return fingerprint(reading, self._settings.parsing)

    def redactor(self, privacy: Privacy) -> Redactor:
        """One for each way in which tenants want it. Raises ConfigurationError, and PolicyError where only a tenant wants it so."""
        from privacy import Redactor

        with self._loading:
            if privacy not in self._redactors:
                with _refusing(only_tenants=privacy != self._settings.privacy):
                    self._redactors[privacy] = Redactor(privacy)
            return self._redactors[privacy]

    @cached_property
    def embedder(self) -> Embedder:
        from embedders.stage import load

        embedder = load(self._settings.embedding, self._settings.cache_dir)
        self._closing.callback(embedder.close)
        return embedder

    @cached_property
    def chunker(self) -> Chunker:
        from chunkers import Chunker

        wanted = self._settings.chunking.max_tokens

        def count(texts: list[str]) -> list[int]:
            # here and not before, so that finding nothing to do costs no model
            self.embedder.check_limit(wanted)
            return self.embedder.count_tokens(texts)

        return Chunker(count, wanted, self.embedder.tokenizer_identity)

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


@contextmanager
def _refusing(*, only_tenants: bool) -> Iterator[None]:
    """What cannot be had is the trouble of the tenants that want it, where `headrace.toml` does not."""
    try:
        yield
    except ConfigurationError as error:
        if not only_tenants:
            raise
        raise PolicyError(error.detail, remedy=error.remedy) from None
