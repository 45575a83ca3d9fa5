"""Vectors from an endpoint: the OpenAI and TEI protocols, validation of their replies, and the identity of the model behind an endpoint.

`endpoint` sends the requests and retries them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from embedders.backend import Item, Vectors
from embedders.endpoint import Connection, Endpoint, Reply
from embedders.refusal import Refusal

__all__ = ["Endpoint", "HttpBackend", "identity"]

_PROBE = "dimension"
_BYTES_PER_NUMBER = 64
"""In JSON: the longest float64 takes 24, the rest is for separators and indentation."""
_OVERHEAD_BYTES = 65_536
_MAX_DIMENSIONS = 65_536
"""Limits a reply while its dimension is unknown."""


class HttpBackend:
    """An endpoint as a `Backend`. Threads may share it.

    `tokens_charged` counts the tokens that the server reports: `usage.total_tokens`, or TEI's `x-compute-tokens`. Replies without valid
    vectors count, because they are charged too. If `endpoint.dimension` is None, one request at the start determines it.

    Raises Refusal: `endpoint-unavailable` (transient), `endpoint-refused` (because of a text in the request), `endpoint-misconfigured`,
    `endpoint-bad-vectors`. A message names the host, never a text, a body or the key.
    """

    name = "http"
    precision = "unknown"
    pads = False  # servers charge tokens without padding

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._protocol = _PROTOCOLS[endpoint.protocol]
        self._charged = 0
        self._lock = Lock()
        self.device = endpoint.host
        self.lanes = endpoint.concurrency
        self.batch_tokens = endpoint.batch_tokens
        self._connection = Connection(endpoint)
        self.dimension = endpoint.dimension or self._probe_dimension()

    @property
    def tokens_charged(self) -> int:
        """Tokens charged since the start."""
        with self._lock:
            return self._charged

    def prepare(self, items: Sequence[Item]) -> list[list[str]]:
        """Split the texts into requests of at most `endpoint.batch_texts`."""
        texts, size = [item.text for item in items], self._endpoint.batch_texts
        return [texts[start : start + size] for start in range(0, len(texts), size)]

    def forward(self, prepared: list[list[str]]) -> Vectors:
        """Return (n, dimension) float32 of unit length, in the items' order. The requests are sent one after the other."""
        none = np.empty((0, self.dimension), dtype=np.float32)
        return np.concatenate([none, *(self._embedded(texts, self.dimension) for texts in prepared)])

    def close(self) -> None:
        """End every wait for a retry at once, and close the connections when the last request has ended."""
        self._connection.close()

    def _embedded(self, texts: list[str], dimension: int | None) -> Vectors:
        payload = self._protocol.payload(self._endpoint, texts)
        max_bytes = len(texts) * (dimension or _MAX_DIMENSIONS) * _BYTES_PER_NUMBER + _OVERHEAD_BYTES
        reply = self._connection.request("POST", self._protocol.path, payload, max_bytes)
        content = _json(reply.body)
        self._charge(self._protocol.tokens(reply, content))
        return self._validated(self._protocol.rows(content), len(texts), dimension)

    def _validated(self, rows: list[Any] | None, count: int, dimension: int | None) -> Vectors:
        vectors = _unit(rows) if rows is not None and len(rows) == count else None
        if vectors is None:
            raise Refusal(
                "endpoint-bad-vectors", f"{self.device} did not return {count} vectors of finite length above 0 for {count} texts"
            )
        if dimension not in {None, vectors.shape[1]}:
            detail = f"{self.device} returned vectors of dimension {vectors.shape[1]}, not {dimension}"
            raise Refusal("endpoint-misconfigured", detail, "Check which model the endpoint serves, and the configured dimension.")
        return vectors

    def _charge(self, tokens: object) -> None:
        if isinstance(tokens, int) and tokens > 0:
            with self._lock:
                self._charged += tokens

    def _probe_dimension(self) -> int:
        try:
            return int(self._embedded([_PROBE], None).shape[1])
        except BaseException:  # nothing else will close the connection
            self.close()
            raise


def identity(endpoint: Endpoint, tokenizer_identity: str, prompts: Mapping[str, str], revision: str | None = None) -> str:
    """Hash what decides the vectors, as 32 hex characters: protocol, model, revision, dimension, tokenizer, prompts; never host or key.

    A TEI server reports what it runs (`/info`: model, commit, pooling), so that another model under the same name has another identity. An
    OpenAI-compatible server does not: only its name for the model is known, and `revision` lets an operator name its current state.

    Raises Refusal as the backend does; `endpoint-misconfigured` if a TEI server does not run an embedding model.
    """
    served = _served_model(endpoint) if endpoint.protocol == "tei" else None
    parts = [endpoint.protocol, endpoint.model, endpoint.dimension, tokenizer_identity, sorted(prompts.items()), served, revision]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def _served_model(endpoint: Endpoint) -> list[object]:
    """Model, commit and pooling; not the precision, which differs between a CPU and a GPU that serve the same model."""
    connection = Connection(endpoint)
    try:
        info = _json(connection.request("GET", "/info", None, _OVERHEAD_BYTES).body)
    finally:
        connection.close()
    model, kind = _field(info, "model_id"), _field(_field(info, "model_type"), "embedding")
    if not isinstance(model, str) or not isinstance(kind, dict):
        remedy = "Check the endpoint's url and protocol, and which model it serves."
        raise Refusal("endpoint-misconfigured", f"{endpoint.host} does not report an embedding model", remedy)
    return [model, _field(info, "model_sha"), _field(kind, "pooling")]


# ── protocols ────────────────────────────────────────────────────────────────────────────────────────────


def _openai_payload(endpoint: Endpoint, texts: list[str]) -> dict[str, object]:
    payload: dict[str, object] = {"model": endpoint.model, "input": texts, "encoding_format": "float"}
    return payload if endpoint.dimension is None else {**payload, "dimensions": endpoint.dimension}


def _openai_rows(content: object) -> list[Any] | None:
    """Sort the vectors by `index`. None unless every index occurs exactly once."""
    data = _field(content, "data")
    if not isinstance(data, list):
        return None
    placed = {at: _field(row, "embedding") for row in data if type(at := _field(row, "index")) is int}
    return [placed[at] for at in range(len(data))] if placed.keys() == set(range(len(data))) else None


def _openai_tokens(_: Reply, content: object) -> object:
    return _field(_field(content, "usage"), "total_tokens")


def _tei_payload(_: Endpoint, texts: list[str]) -> dict[str, object]:
    # explicit, because a server may be configured to truncate by default
    return {"inputs": texts, "truncate": False, "normalize": True}


def _tei_rows(content: object) -> list[Any] | None:
    return content if isinstance(content, list) else None


def _tei_tokens(reply: Reply, _: object) -> object:
    header = reply.headers.get("x-compute-tokens", "")
    return int(header) if header.isascii() and header.isdigit() and len(header) < 20 else None


class _Protocol(NamedTuple):
    path: str
    payload: Callable[[Endpoint, list[str]], dict[str, object]]
    rows: Callable[[object], list[Any] | None]
    tokens: Callable[[Reply, object], object]


_PROTOCOLS = {
    "openai": _Protocol("/embeddings", _openai_payload, _openai_rows, _openai_tokens),
    "tei": _Protocol("/embed", _tei_payload, _tei_rows, _tei_tokens),
}

# ── replies ──────────────────────────────────────────────────────────────────────────────────────────────────


def _json(body: bytes) -> object:
    """Parse JSON; None if it is malformed. No valid reply is null."""
    try:
        content: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return content


def _field(content: object, name: str) -> object:
    return content.get(name) if isinstance(content, dict) else None


def _unit(rows: list[Any]) -> Vectors | None:
    """Normalise rows of numbers to unit length. None if they are not rows of numbers, or if one of them has no direction.

    Computed in float64: in float32 the sum of squares of a valid vector may overflow.
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
