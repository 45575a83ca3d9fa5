"""A tenant's index for a RAG application, which needs only a reader's login.

The host has no master key, so questions are embedded without redaction: a value that redaction would replace is searched for by its
meaning, never by its surrogate. `headrace search` redacts questions with the tenant's keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from core.config import Embedding
from core.errors import ConfigurationError
from core.tenancy import Database, valid_tenant

if TYPE_CHECKING:
    from retrieval.search import Passage


class Index:
    """One tenant's passages. Thread-safe. Reuse it, because it keeps connections and the model, and close it in the end.

    `reader_url` is a Postgres URL of a login that may assume the tenant's reader role. `model` and `revision` are those that the index was
    built with (`embedding.model`, `embedding.revision`). `embedding` takes other keys of that section by name: `dimension` and `endpoint`
    if the index was built with them, `backend`, `device`, `precision`. Connects, and loads the model, at the first search.
    Raises TenantError for an invalid tenant name, ConfigurationError if the model is not found or may not be loaded.
    """

    def __init__(self, reader_url: str, tenant: str, *, model: str = "minilm", revision: str | None = None, **embedding: Any) -> None:
        from embedders.stage import load

        self._tenant = valid_tenant(tenant)
        self._embedder = load(_embedding({"model": model, "revision": revision, **embedding}))
        self._database = Database(reader_url, role="reader")

    def __enter__(self) -> Index:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._database.close()
        self._embedder.close()

    def search(self, query: str, principals: Sequence[str] = (), top: int = 5) -> list[Passage]:
        """The `top` nearest passages that one of `principals`, or everyone, may read; best first.

        The caller authenticates its user and vouches for the principals. Raises TenantError if there is no such tenant, Unavailable if
        Postgres does not answer, ConfigurationError if the model does not load, and HeadraceError: `model-mismatch` if the index was built
        with another model, `text-too-long` if the question is longer than the model's input.
        """
        from retrieval.search import SearchRequest, search

        if isinstance(principals, str):
            raise TypeError("principals must be a list, was a string")
        return search(self._database, self._embedder, self._tenant, SearchRequest(query, tuple(principals), top=top))


def _embedding(keys: Mapping[str, Any]) -> Embedding:
    try:
        return Embedding.model_validate(keys)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"])) or "embedding"
        raise ConfigurationError(f"{key}: {problem['msg'].removeprefix('Value error, ')}") from None
