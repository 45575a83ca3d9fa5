"""An HTTP endpoint: address, limits, and requests with retries.

`http_backend` builds the requests and interprets the replies. No message contains a request, a reply, a path or a key: a server may echo a
text, and a library may quote a header.
"""

from __future__ import annotations

import json
import math
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import IPv6Address
from random import SystemRandom
from threading import Event, Lock
from time import monotonic
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import SplitResult, urlsplit

from embedders.refusal import Refusal

if TYPE_CHECKING:
    from httpx import Client, Response

# ── configuration ──────────────────────────────────────────────────────────────────────────────────────────────

_COUNTS = ("batch_texts", "batch_tokens", "concurrency", "attempts")
_SECONDS = ("timeout_s", "first_wait_s", "longest_wait_s")
_MAX_SECONDS = 86_400
_URL = re.compile(r"[A-Za-z0-9\-._~:/\[\]!$&'()*+,;=%]+")
_NAME = re.compile(r"(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?")
_KEY = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class Endpoint:
    """A server that embeds texts.

    `url` is the address without `/embeddings` (openai) or `/embed` (tei). `model` is the model's name on the server, and part of the
    vectors' identity. `dimension` None is the model's own. Another one is requested of an openai endpoint (which may refuse it if the model
    was not trained for it), and with both protocols every vector must have it. A request contains at most `batch_texts` texts, and at most
    `concurrency` requests are in flight. `timeout_s` applies to connecting, to waiting for a reply, and to reading it, each. A request
    is attempted at most `attempts` times, with random waits between 0 and `first_wait_s`, doubled each time up to `longest_wait_s`.

    A tei server must run without a default prompt, because the engine adds the prompts.

    Raises Refusal (`bad-endpoint`) with the bad value, unless that would show a credential.
    """

    url: str
    protocol: Literal["openai", "tei"]
    model: str
    api_key: str | None = field(default=None, repr=False)
    dimension: int | None = None
    batch_texts: int = 32
    batch_tokens: int = 16_384
    concurrency: int = 8
    timeout_s: float = 30.0
    attempts: int = 5
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0

    def __post_init__(self) -> None:
        _check_url(self.url)
        _require(self.protocol in {"openai", "tei"}, f"protocol must be openai or tei, was: {self.protocol!r}")
        _require(bool(self.model.strip()), f"model must be a name, was: {self.model!r}")
        _require(self.api_key is None or bool(_KEY.fullmatch(self.api_key)), "api_key must be visible ASCII characters without a space")
        _check_limits(self)

    @property
    def host(self) -> str:
        """The host without scheme, port and path. May be logged."""
        return urlsplit(self.url).hostname or ""

    def at(self, path: str) -> str:
        """The URL of `path` below `url`."""
        return self.url.rstrip("/") + path


def _check_url(url: str) -> None:
    _require("@" not in url, "url must contain no credentials; the key belongs in api_key")
    _require("?" not in url and "#" not in url, "url must have no query and no fragment")
    _require(_is_http(url), f"url must be http:// or https://, a host and perhaps a path, was: {url!r}")


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url if _URL.fullmatch(url) else "")
        return parts.scheme in {"http", "https"} and parts.port != 0 and _is_host(parts)
    except ValueError:
        return False


def _is_host(parts: SplitResult) -> bool:
    """Whether a resolver accepts the host: it raises errors of its own for others. Raises ValueError if brackets contain no address."""
    host = parts.hostname or ""
    return bool(IPv6Address(host)) if "[" in parts.netloc else bool(_NAME.fullmatch(host))


def _check_limits(endpoint: Endpoint) -> None:
    for name in _COUNTS:
        _require(_counts(getattr(endpoint, name)), f"{name} must be a whole number from 1, was: {getattr(endpoint, name)!r}")
    for name in _SECONDS:
        seconds = getattr(endpoint, name)
        _require(0 < seconds <= _MAX_SECONDS, f"{name} must be above 0 and at most {_MAX_SECONDS}, was: {seconds!r}")
    ordered = endpoint.first_wait_s <= endpoint.longest_wait_s
    _require(ordered, f"longest_wait_s must be at least first_wait_s ({endpoint.first_wait_s:g}), was: {endpoint.longest_wait_s:g}")
    dimension = endpoint.dimension
    _require(dimension is None or _counts(dimension), f"dimension must be a whole number from 1, or None, was: {dimension!r}")


def _counts(value: object) -> bool:
    return isinstance(value, int) and value >= 1


def _require(condition: bool, detail: str) -> None:
    if not condition:
        raise Refusal("bad-endpoint", detail)


# ── requests ─────────────────────────────────────────────────────────────────────────────────────────────


class Reply(NamedTuple):
    """A successful reply."""

    headers: Mapping[str, str]
    body: bytes


class Failed(NamedTuple):
    """A failed attempt that a retry may succeed after; not before `after_s` seconds, if the server says so."""

    what: str
    after_s: float | None = None


class Connection:
    """A client of an endpoint with at most `concurrency` connections. Threads may share it. It follows no redirect."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._closed = Event()
        self._lock = Lock()
        self._running = 0
        self._client = _client(endpoint)

    def request(self, method: str, path: str, payload: object, max_bytes: int) -> Reply:
        """Send `payload` as JSON (None: no body), and return the reply, of at most `max_bytes`.

        Raises Refusal: `endpoint-unavailable` (transient) if the last attempt failed or the connection was closed meanwhile,
        `endpoint-refused` if the server rejects this content, `endpoint-misconfigured` if it would reject any,
        `endpoint-bad-vectors` if the reply is too long.
        """
        body = None if payload is None else _encoded(payload)
        with self._in_flight():
            return self._retry(lambda: self._attempt(method, path, body, max_bytes))

    def close(self) -> None:
        """End every wait at once. Requests in flight end by themselves, within `timeout_s`."""
        with self._lock:
            self._closed.set()
            self._close_if_idle()

    @contextmanager
    def _in_flight(self) -> Iterator[None]:
        """Count a request. The last one closes the client: closing it under a running request raises an error of another kind."""
        with self._lock:
            self._refuse_closed()
            self._running += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1
                self._close_if_idle()

    def _close_if_idle(self) -> None:
        if self._closed.is_set() and not self._running:
            self._client.close()

    def _refuse_closed(self) -> None:
        if self._closed.is_set():
            raise Refusal("endpoint-unavailable", f"the connection to {self._endpoint.host} was closed", transient=True)

    def _retry(self, attempt: Callable[[], Reply | Failed | Refusal]) -> Reply:
        number = 1
        while isinstance(outcome := attempt(), Failed):
            self._wait(number, outcome)
            number += 1
        if isinstance(outcome, Refusal):
            raise outcome
        return outcome

    def _wait(self, number: int, failed: Failed) -> None:
        """Wait until attempt `number` + 1 may be made. Raises Refusal if none is left, or if the server asks for too long a wait."""
        endpoint = self._endpoint
        failure = f"{endpoint.host} {failed.what}"
        if number >= endpoint.attempts:
            raise Refusal("endpoint-unavailable", f"{failure}, at attempt {number} of {endpoint.attempts}", transient=True)
        if (after_s := failed.after_s or 0.0) > endpoint.longest_wait_s:
            detail = f"{failure} and asks for a wait of {after_s:.0f} s, longer than {endpoint.longest_wait_s:g} s"
            raise Refusal("endpoint-unavailable", detail, transient=True)
        self._closed.wait(min(endpoint.longest_wait_s, after_s + _jittered(endpoint, number)))
        self._refuse_closed()

    def _attempt(self, method: str, path: str, body: bytes | None, max_bytes: int) -> Reply | Failed | Refusal:
        from huggingface_hub.utils import httpx

        endpoint = self._endpoint
        try:
            with self._client.stream(method, endpoint.at(path), content=body) as response:
                return _failure(response, endpoint.host) or _read(response, endpoint, max_bytes)
        except httpx.TransportError as error:
            # its message may quote the server: report the type's name only
            return _certificate_failure(error, endpoint.host) or Failed(f"failed with {type(error).__name__}")


def _client(endpoint: Endpoint) -> Client:
    # httpx or httpx2, whichever huggingface_hub depends on
    from huggingface_hub.utils import httpx

    # a compressed reply could decompress beyond any limit in one piece
    headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
    if endpoint.api_key is not None:
        headers["Authorization"] = f"Bearer {endpoint.api_key}"
    limits = httpx.Limits(max_connections=endpoint.concurrency, max_keepalive_connections=endpoint.concurrency)
    # no timeout in the pool: waiting for a connection is waiting for our own requests
    timeout = httpx.Timeout(endpoint.timeout_s, pool=None)
    client: Client = httpx.Client(headers=headers, limits=limits, timeout=timeout, follow_redirects=False)
    return client


def _encoded(payload: object) -> bytes:
    """Encode as JSON. A lone surrogate becomes invalid UTF-8, which the server refuses; an error here would contain the text."""
    return json.dumps(payload, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _read(response: Response, endpoint: Endpoint, max_bytes: int) -> Reply | Failed | Refusal:
    """Read the whole body within `timeout_s`: the client's own timeout restarts with every piece."""
    body = bytearray()
    deadline = monotonic() + endpoint.timeout_s
    for piece in response.iter_raw():
        body += piece
        if len(body) > max_bytes:
            return Refusal("endpoint-bad-vectors", f"{endpoint.host} sent more than {max_bytes} bytes")
        if monotonic() > deadline:
            return Failed(f"took longer than {endpoint.timeout_s:g} s to reply")
    return Reply(response.headers, bytes(body))


# ── failures ─────────────────────────────────────────────────────────────────────────────────────

_RETRYABLE = frozenset({408, 424, 425, 429})
"""In addition to 5xx. 424 is TEI's status for a failed forward pass."""
_PERMANENT = frozenset({501, 505})
_REFUSED = frozenset({400, 413, 422})
_KEY_REMEDY = "Check the endpoint's api_key and its permissions."
_REDIRECT_REMEDY = "Configure the url that it redirects to. Redirects are not followed, because they could send the key elsewhere."
_REMEDIES = {401: _KEY_REMEDY, 402: _KEY_REMEDY, 403: _KEY_REMEDY, **dict.fromkeys(range(300, 400), _REDIRECT_REMEDY)}
_URL_REMEDY = "Check the endpoint's url, protocol and model."


def _failure(response: Response, host: str) -> Failed | Refusal | None:
    """Interpret the status; None for success."""
    status = response.status_code
    if 200 <= status < 300:
        return None
    if status in _RETRYABLE or (status >= 500 and status not in _PERMANENT):
        return Failed(f"answered {status}", _retry_after_s(response.headers))
    if status in _REFUSED:
        return Refusal("endpoint-refused", f"{host} answered {status} to the content of a request")
    return Refusal("endpoint-misconfigured", f"{host} answered {status}", _REMEDIES.get(status, _URL_REMEDY))


def _certificate_failure(error: BaseException, host: str) -> Refusal | None:
    """A Refusal if a certificate was not verified: a retry would not help."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            remedy = "Check the url's host, or name its certificate authority in SSL_CERT_FILE."
            return Refusal("endpoint-misconfigured", f"the certificate of {host} cannot be verified", remedy)
        cause = cause.__cause__ or cause.__context__
    return None


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds in `Retry-After`, in either form (RFC 9110, 10.2.3), or None. A date is compared with the server's own clock."""
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
        return float(value)
    if (then := _date(value)) is None:
        return None
    return max(0.0, (then - (_date(headers.get("date", "")) or datetime.now(UTC))).total_seconds())


def _date(value: str) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(value)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):  # the parser raises these for malformed dates
        return None


def _jittered(endpoint: Endpoint, number: int) -> float:
    """Full jitter: uniform between 0 and the exponential bound (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015)."""
    return SystemRandom().uniform(0.0, min(endpoint.longest_wait_s, math.ldexp(endpoint.first_wait_s, min(number - 1, 60))))
