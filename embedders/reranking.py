"""Rerankers: a cross-encoder of sentence-transformers, or a server with TEI's or Cohere's protocol. Both answer in time or raise.

A cross-encoder reads the query and a text together, which finds what two vectors apart cannot, and costs a model's pass for each text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, Protocol

from embedders.endpoint import Connection, Endpoint
from embedders.models import find
from embedders.refusal import Refusal

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

__all__ = ["EndpointJudge", "Judge", "ModelJudge"]

TIMED_OUT = "reranker-timed-out"
BATCH = 8
"""Texts between two looks at the clock."""
_BYTES_PER_TEXT, _OVERHEAD_BYTES = 4_096, 65_536
"""Of a reply: Cohere's may repeat each text's beginning."""

Protocol_ = Literal["tei", "cohere"]


class Judge(Protocol):
    """Scores texts for a query."""

    def scores(self, query: str, texts: Sequence[str], timeout_s: float) -> list[float]:
        """One score for each text, in their order, higher is better.

        Raises Refusal: `reranker-timed-out` if that takes longer; others if the model or the server cannot be used.
        """
        ...

    def close(self) -> None: ...


class ModelJudge:
    """A cross-encoder by a folder or a hub repository, loaded at its first use. Threads take turns.

    Its files are checked at once. Raises Refusal as `models.find` does, and `model-not-loadable`.
    """

    def __init__(self, name: str, revision: str | None = None) -> None:
        self._folder: Path = find(name, revision).folder
        self._turn = Lock()

    def scores(self, query: str, texts: Sequence[str], timeout_s: float) -> list[float]:
        """Stops between two batches once the time is over. Loading the model does not count."""
        model, found = self._model, list[float]()
        deadline = monotonic() + timeout_s
        if not self._turn.acquire(timeout=timeout_s):
            raise _timed_out(timeout_s)
        try:
            for start in range(0, len(texts), BATCH):
                if monotonic() > deadline:
                    raise _timed_out(timeout_s)
                pairs: Any = [(query, text) for text in texts[start : start + BATCH]]
                found += [float(score) for score in model.predict(pairs, batch_size=BATCH, show_progress_bar=False)]
        finally:
            self._turn.release()
        return found

    def close(self) -> None:
        """Nothing is open."""

    @cached_property
    def _model(self) -> CrossEncoder:
        from sentence_transformers import CrossEncoder

        try:
            model: CrossEncoder = CrossEncoder(
                str(self._folder), local_files_only=True, trust_remote_code=False, model_kwargs={"use_safetensors": True}, num_labels=1
            )
        except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
            raise Refusal("model-not-loadable", f"sentence-transformers cannot load {self._folder}: {type(error).__name__}") from error
        model.eval()
        return model


class EndpointJudge:
    """A server: `{url}/rerank`, as TEI or Cohere (and those who follow them) answer it. Threads may share it. Nothing is tried twice."""

    def __init__(self, url: str, protocol: Protocol_, model: str | None, api_key: str | None, timeout_s: float) -> None:
        self._protocol, self._model = protocol, model
        # connecting, waiting and reading have their times each: who asks gives up after all of them together, before any of those
        self._endpoint = Endpoint(url, "tei", model or "reranker", api_key, timeout_s=2 * timeout_s, attempts=1)
        self._connection = Connection(self._endpoint)
        self._threads = ThreadPoolExecutor(self._endpoint.concurrency, "rerank")

    def scores(self, query: str, texts: Sequence[str], timeout_s: float) -> list[float]:
        payload = self._payload(query, list(texts))
        most = len(texts) * _BYTES_PER_TEXT + sum(4 * len(text.encode()) for text in texts) + _OVERHEAD_BYTES
        asked = self._threads.submit(self._connection.request, "POST", "/rerank", payload, most)
        try:
            reply = asked.result(timeout_s)
        except TimeoutError:
            asked.cancel()
            raise _timed_out(timeout_s) from None
        return self._read(reply.body, len(texts))

    def close(self) -> None:
        """Requests in flight end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._connection.close()

    def _payload(self, query: str, texts: list[str]) -> dict[str, object]:
        if self._protocol == "tei":
            return {"query": query, "texts": texts, "truncate": True}
        return {"query": query, "documents": texts, "top_n": len(texts), **({"model": self._model} if self._model else {})}

    def _read(self, body: bytes, number: int) -> list[float]:
        """The scores in the texts' order: a reply has them best first, each with its text's index."""
        try:
            content = json.loads(body)
            rows, field = (content, "score") if self._protocol == "tei" else (content["results"], "relevance_score")
            found = {row["index"]: float(row[field]) for row in rows}
            return [found[index] for index in range(number)]
        except (ValueError, TypeError, KeyError, RecursionError):
            detail = f"{self._endpoint.host} did not return a score for each of {number} texts"
            raise Refusal("endpoint-bad-scores", detail, "Check the endpoint's url, protocol and model.") from None


def _timed_out(timeout_s: float) -> Refusal:
    return Refusal(TIMED_OUT, f"the reranker took longer than {timeout_s:g} s", "Raise reranking.timeout_s, or lower reranking.candidates.")
