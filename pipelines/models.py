"""The heavy things a process holds once and warm: models, worker processes, the graph's driver. Each is made when first asked for."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING

from core.config import Endpoints, Settings
from core.errors import ConfigurationError, PolicyError, Unavailable
from core.policy import Policy, Privacy

if TYPE_CHECKING:
    from chunkers import Chunker
    from graph import EntityFinder, Projection
    from parsers import WorkerPool
    from pipelines.embedding import Embedder
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
        self.parsers.parse(b"# Warm", "text/markdown", "")
        self.redactor(policy.privacy).warm()
        self.chunker.count_tokens(["warm"])
        self.embedder.encode(["warm"], "passage")
        with suppress(Unavailable):  # the graph may come later
            self.projection  # noqa: B018

    @cached_property
    def parsers(self) -> WorkerPool:
        from parsers import WorkerPool

        return self._closing.enter_context(WorkerPool(self._settings.parsing))

    def redactor(self, privacy: Privacy) -> Redactor:
        """One for each way in which tenants want it. Raises ConfigurationError, and PolicyError where only a tenant wants it so."""
        from privacy import Redactor

        with self._loading:
            if privacy not in self._redactors:
                try:
                    self._redactors[privacy] = Redactor(privacy)
                except ConfigurationError as error:
                    if privacy == self._settings.privacy:
                        raise
                    raise PolicyError(error.detail, remedy=error.remedy) from None
            return self._redactors[privacy]

    @cached_property
    def embedder(self) -> Embedder:
        from pipelines.embedding import load

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
    def entities(self) -> EntityFinder | None:
        from graph import EntityFinder

        model = self._settings.privacy.names_model
        return EntityFinder(model) if model else None

    @cached_property
    def projection(self) -> Projection:
        from graph import Projection

        projection = self._closing.enter_context(Projection(self._endpoints))
        projection.prepare()
        return projection
