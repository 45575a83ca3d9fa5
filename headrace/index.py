"""A tenant's index for a RAG application, which needs only a reader's login.

The host has no master key, so questions are embedded without redaction: a value that redaction would replace is searched for by its
meaning, never by its surrogate. `headrace search` redacts questions with the tenant's keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from pydantic import ValidationError

from core import timeouts
from core.config import Embedding, Reranking
from core.errors import ConfigurationError
from core.postgres_url import login_is_refused, postgres_url
from core.principals import Principals
from core.section import Section
from core.tenancy import Database, valid_tenant

if TYPE_CHECKING:
    from retrieval.answer import Answer
    from retrieval.request import Mode

Kind = TypeVar("Kind", bound=Section)


class Index:
    """One tenant's passages. Thread-safe. Reuse it, because it keeps connections and the model, and close it in the end.

    `reader_url` is a Postgres URL (`postgresql://` or SQLAlchemy's `postgresql+psycopg://`) of a login that may assume the tenant's reader
    role; no message has a part of it. `model` and `revision` are those that the index was
    built with (`embedding.model`, `embedding.revision`). `embedding` takes other keys of that section by name: `dimension` and `endpoint`
    if the index was built with them, `backend`, `device`, `precision`. `reranking`: keys of that section. Connects, and loads the model, at
    the first search. Raises TenantError for an invalid tenant name, ConfigurationError for a URL that cannot be read and if the model is
    not found or may not be loaded.
    """

    def __init__(
        self,
        reader_url: str,
        tenant: str,
        *,
        model: str = "minilm",
        revision: str | None = None,
        reranking: Mapping[str, Any] | None = None,
        **embedding: Any,
    ) -> None:
        self._tenant = valid_tenant(tenant)
        self._url = _postgres_url(reader_url)
        self._login_is_checked = False

        from embedders.stage import load, load_reranker

        self._reranker = load_reranker(_section(Reranking, "reranking", reranking or {}))
        self._embedder = load(_section(Embedding, "embedding", {"model": model, "revision": revision, **embedding}))
        self._database = Database(self._url, role="reader")

    def __enter__(self) -> Index:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._database.close()
        self._embedder.close()
        if self._reranker:
            self._reranker.close()

    def search(self, query: str, principals: Principals = (), top: int = 5, mode: Mode = "hybrid", **options: Any) -> Answer:
        """The `top` best passages that one of `principals`, or everyone, may read; best first. The answer is read as their sequence.

        `mode`: `vector` for the nearest in meaning, `lexical` for those with the query's words (BM25), which takes no model, `hybrid` for
        both. `options`: others of `retrieval.request.SearchRequest`, by name: `filters`, `cursor`, `expand`, `rerank`, `diversity`,
        `fusion`, `weight`, `least`, `explain`.

        The caller authenticates its user and vouches for the principals. Raises TenantError if there is no such tenant, Unavailable if
        Postgres does not answer, ConfigurationError if it refuses the login or the model does not load, and HeadraceError: `bad-query`,
        `bad-principals`, `bad-top`, `bad-filter`, `bad-option` and `bad-cursor` for arguments that cannot be meant, `model-mismatch` if the
        index was built with another model, `text-too-long` if the question is longer than 16 times the model's
        input.
        """
        from retrieval.search import SearchRequest, search

        request = SearchRequest(query, principals, mode, top, **options)
        self._check_login()
        return search(self._database, self._embedder, self._tenant, request, self._reranker)

    def _check_login(self) -> None:
        """Raise ConfigurationError if Postgres refuses the login: the pool would retry it as if Postgres did not answer."""
        if self._login_is_checked:
            return
        try:
            psycopg.connect(self._url, **timeouts.CONNECTION).close()
        except psycopg.OperationalError as error:
            if login_is_refused(error):
                remedy = "Check the user, the password and the database's name."
                raise ConfigurationError("reader_url: Postgres refuses this login or this database", remedy=remedy) from None
            return
        self._login_is_checked = True


def _postgres_url(text: object) -> str:
    if not isinstance(text, str):
        raise ConfigurationError(f"reader_url: must be text, was: {type(text).__name__}", remedy=_REMEDY)
    try:
        return postgres_url(text)
    except ValueError as error:
        raise ConfigurationError(f"reader_url: {error}", remedy=_REMEDY) from None


_REMEDY = "See docs/retrieval.md."


def _section(kind: type[Kind], name: str, keys: Mapping[str, Any]) -> Kind:
    try:
        return kind.model_validate(keys)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"])) or name
        raise ConfigurationError(f"{key}: {problem['msg'].removeprefix('Value error, ')}") from None
