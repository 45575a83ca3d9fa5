"""Vectors from an endpoint: what an OpenAI-compatible server and a TEI server are asked, and whether their answers are vectors.

How a request is made, repeated and given up is `endpoint`'s. What identifies the model behind an endpoint stands here too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from embedders.backend import Item, Vectors
from embedders.endpoint import Answer, Connection, Endpoint
from embedders.refusal import Refusal

__all__ = ["Endpoint", "HttpBackend", "identity"]

_PROBE = "dimension"
_BYTES_A_NUMBER = 64
"""Of JSON: 24 are the longest float64, the rest is for separators and indentation."""
_BYTES_BESIDE = 65_536
_MOST_DIMENSIONS = 65_536
"""Of an answer whose dimension is not known yet."""


class HttpBackend:
    """An endpoint as a `Backend`. Threads may share it.

    `tokens_charged` counts what the server says it computed: `usage.total_tokens`, or TEI's `x-compute-tokens`; answers that turned out
    to be no vectors included, for they are charged too. Where `endpoint.dimension` is None, one request at the start finds it.

    Raises Refusal: `endpoint-unavailable` (transient), `endpoint-refused` (a text among those sent), `endpoint-misconfigured`,
    `endpoint-bad-vectors`; a message names the host, never a text, a body or the key.
    """

    name = "http"
    precision = "unknown"
    pads = False  # whatever the server does about it, it counts and charges tokens

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._protocol = _PROTOCOLS[endpoint.protocol]
        self._charged = 0
        self._lock = Lock()
        self.device = endpoint.host
        self.lanes = endpoint.concurrency
        self.batch_tokens = endpoint.batch_tokens
        self._connection = Connection(endpoint)
        self.dimension = endpoint.dimension or self._probed()

    @property
    def tokens_charged(self) -> int:
        """Tokens, since the start."""
        with self._lock:
            return self._charged

    def prepare(self, items: Sequence[Item]) -> list[list[str]]:
        """The texts of each request, at most `endpoint.batch_texts`."""
        texts, size = [item.text for item in items], self._endpoint.batch_texts
        return [texts[start : start + size] for start in range(0, len(texts), size)]

    def forward(self, prepared: list[list[str]]) -> Vectors:
        """(n, dimension) float32 of unit length, in the items' order; the requests are made one after the other."""
        none = np.empty((0, self.dimension), dtype=np.float32)
        return np.concatenate([none, *(self._embedded(texts, self.dimension) for texts in prepared)])

    def close(self) -> None:
        """Ends every wait for another attempt at once, and closes the connections when the last request has ended."""
        self._connection.close()

    def _embedded(self, texts: list[str], dimension: int | None) -> Vectors:
        said = self._protocol.request(self._endpoint, texts)
        most_bytes = len(texts) * (dimension or _MOST_DIMENSIONS) * _BYTES_A_NUMBER + _BYTES_BESIDE
        answer = self._connection.exchange("POST", self._protocol.path, said, most_bytes)
        content = _json(answer.body)
        self._charge(self._protocol.tokens(answer, content))
        return self._checked(self._protocol.rows(content), len(texts), dimension)

    def _checked(self, rows: list[Any] | None, count: int, dimension: int | None) -> Vectors:
        vectors = _unit(rows) if rows is not None and len(rows) == count else None
        if vectors is None:
            raise Refusal(
                "endpoint-bad-vectors", f"{self.device} did not answer {count} texts with {count} vectors of finite length above 0"
            )
        if dimension not in {None, vectors.shape[1]}:
            told = f"{self.device} answered vectors of dimension {vectors.shape[1]}, not {dimension}"
            raise Refusal("endpoint-misconfigured", told, "Check which model the endpoint serves, and the dimension that is configured.")
        return vectors

    def _charge(self, tokens: object) -> None:
        if isinstance(tokens, int) and tokens > 0:
            with self._lock:
                self._charged += tokens

    def _probed(self) -> int:
        try:
            return int(self._embedded([_PROBE], None).shape[1])
        except BaseException:  # whatever it is, nobody else holds the connection
            self.close()
            raise


def identity(endpoint: Endpoint, tokenizer_identity: str, prompts: Mapping[str, str], revision: str | None = None) -> str:
    """32 hex characters over what decides the vectors: protocol, model, revision, dimension, tokenizer, prompts; never host or key.

    A TEI server says what it runs (`/info`: model, commit, pooling), so that another model behind the same name is another identity. An
    OpenAI-compatible one does not: its name for the model is all there is, and `revision` what an operator calls its present state.

    Raises Refusal as the backend does, `endpoint-misconfigured` where a TEI server does not run an embedding model.
    """
    served = _served(endpoint) if endpoint.protocol == "tei" else None
    stated = [endpoint.protocol, endpoint.model, endpoint.dimension, tokenizer_identity, sorted(prompts.items()), served, revision]
    return hashlib.blake2b(json.dumps(stated).encode(), digest_size=16).hexdigest()


def _served(endpoint: Endpoint) -> list[object]:
    """Model, commit and pooling. Not the precision: the same model on a processor and on a GPU is the same model."""
    connection = Connection(endpoint)
    try:
        info = _json(connection.exchange("GET", "/info", None, _BYTES_BESIDE).body)
    finally:
        connection.close()
    model, kind = _field(info, "model_id"), _field(_field(info, "model_type"), "embedding")
    if not isinstance(model, str) or not isinstance(kind, dict):
        remedy = "Check the endpoint's url and protocol, and which model it serves."
        raise Refusal("endpoint-misconfigured", f"{endpoint.host} does not say that it serves an embedding model", remedy)
    return [model, _field(info, "model_sha"), _field(kind, "pooling")]


# ── two protocols ────────────────────────────────────────────────────────────────────────────────────────────


def _openai_request(endpoint: Endpoint, texts: list[str]) -> dict[str, object]:
    said: dict[str, object] = {"model": endpoint.model, "input": texts, "encoding_format": "float"}
    return said if endpoint.dimension is None else {**said, "dimensions": endpoint.dimension}


def _openai_rows(content: object) -> list[Any] | None:
    """Each vector is where its `index` says; None unless every place is taken exactly once."""
    data = _field(content, "data")
    if not isinstance(data, list):
        return None
    placed = {at: _field(row, "embedding") for row in data if type(at := _field(row, "index")) is int}
    return [placed[at] for at in range(len(data))] if placed.keys() == set(range(len(data))) else None


def _openai_tokens(_: Answer, content: object) -> object:
    return _field(_field(content, "usage"), "total_tokens")


def _tei_request(_: Endpoint, texts: list[str]) -> dict[str, object]:
    # said outright: a server may be set to truncate where a request says nothing
    return {"inputs": texts, "truncate": False, "normalize": True}


def _tei_rows(content: object) -> list[Any] | None:
    return content if isinstance(content, list) else None


def _tei_tokens(answer: Answer, _: object) -> object:
    header = answer.headers.get("x-compute-tokens", "")
    return int(header) if header.isascii() and header.isdigit() and len(header) < 20 else None


class _Protocol(NamedTuple):
    path: str
    request: Callable[[Endpoint, list[str]], dict[str, object]]
    rows: Callable[[object], list[Any] | None]
    tokens: Callable[[Answer, object], object]


_PROTOCOLS = {
    "openai": _Protocol("/embeddings", _openai_request, _openai_rows, _openai_tokens),
    "tei": _Protocol("/embed", _tei_request, _tei_rows, _tei_tokens),
}

# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────


def _json(body: bytes) -> object:
    """None where it is not JSON: nothing that is asked for may be null."""
    try:
        content: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return content


def _field(content: object, name: str) -> object:
    return content.get(name) if isinstance(content, dict) else None


def _unit(rows: list[Any]) -> Vectors | None:
    """Rows of numbers as unit vectors; None where they are not rows of numbers, or one of them has no direction.

    In float64: a float32 overflows in the sum of squares before its vector does.
    """
    try:
        array = np.array(rows)
    except ValueError:
        return None
    if array.ndim != 2 or array.dtype.kind not in "iuf":
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.linalg.norm(array.astype(np.float64), axis=1, keepdims=True)
    directed = np.isfinite(lengths) & (lengths > np.finfo(np.float32).tiny)
    return (array / lengths).astype(np.float32) if directed.all() else None
