"""An HTTP endpoint: where it is, what may be asked of it at once, and one exchange with it, tried again while that may help.

What is said in an exchange and what the answer means is `http_backend`'s. No message here holds what was sent, what was answered, a
path or a key: a server may echo a text, and a library may show a header.
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

# ── where it is ──────────────────────────────────────────────────────────────────────────────────────────────

_COUNTS = ("batch_texts", "batch_tokens", "concurrency", "attempts")
_SECONDS = ("timeout_s", "first_wait_s", "longest_wait_s")
_MOST_SECONDS = 86_400
_URL = re.compile(r"[A-Za-z0-9\-._~:/\[\]!$&'()*+,;=%]+")
_NAME = re.compile(r"(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?")
_KEY = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class Endpoint:
    """A server that embeds texts.

    `url` is what stands before `/embeddings` (openai) or `/embed` (tei). `model` is the name it is asked for, and part of the identity
    of the vectors. `dimension` None is the model's own; another one is asked of an openai endpoint (which may refuse it for a model that
    is not made for it), and in both protocols every vector must have it. A request holds at most `batch_texts` texts; `concurrency`
    requests are under way at once. `timeout_s` bounds connecting, waiting for an answer, and reading it, each. A request is made
    `attempts` times at most, with random waits from 0 to `first_wait_s`, doubled each time up to `longest_wait_s`.

    A tei server must run without a default prompt: the engine puts the prompts in front.

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
        """Without scheme, port, path: what may be logged."""
        return urlsplit(self.url).hostname or ""

    def at(self, path: str) -> str:
        """The address of `path` below `url`."""
        return self.url.rstrip("/") + path


def _check_url(url: str) -> None:
    _require("@" not in url, "url must hold no credentials; the key belongs in api_key")
    _require("?" not in url and "#" not in url, "url must have no query and no fragment")
    _require(_is_http(url), f"url must be http:// or https://, a host and perhaps a path, was: {url!r}")


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url if _URL.fullmatch(url) else "")
        return parts.scheme in {"http", "https"} and parts.port != 0 and _is_host(parts)
    except ValueError:
        return False


def _is_host(parts: SplitResult) -> bool:
    """What a resolver takes: it raises errors of its own for anything else. Raises ValueError where brackets hold no address."""
    host = parts.hostname or ""
    return bool(IPv6Address(host)) if "[" in parts.netloc else bool(_NAME.fullmatch(host))


def _check_limits(endpoint: Endpoint) -> None:
    for name in _COUNTS:
        _require(_counts(getattr(endpoint, name)), f"{name} must be a whole number from 1, was: {getattr(endpoint, name)!r}")
    for name in _SECONDS:
        seconds = getattr(endpoint, name)
        _require(0 < seconds <= _MOST_SECONDS, f"{name} must be above 0 and at most {_MOST_SECONDS}, was: {seconds!r}")
    ordered = endpoint.first_wait_s <= endpoint.longest_wait_s
    _require(ordered, f"longest_wait_s must be at least first_wait_s ({endpoint.first_wait_s:g}), was: {endpoint.longest_wait_s:g}")
    dimension = endpoint.dimension
    _require(dimension is None or _counts(dimension), f"dimension must be a whole number from 1, or None, was: {dimension!r}")


def _counts(value: object) -> bool:
    return isinstance(value, int) and value >= 1


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Refusal("bad-endpoint", otherwise)


# ── one exchange ─────────────────────────────────────────────────────────────────────────────────────────────


class Answer(NamedTuple):
    """What a server said to a request that succeeded."""

    headers: Mapping[str, str]
    body: bytes


class Failed(NamedTuple):
    """An attempt that may succeed when it is made again, `after_s` seconds from now at the earliest where the server says so."""

    what: str
    after_s: float | None = None


class Connection:
    """An open line to an endpoint, of at most `concurrency` connections. Threads may share it; it follows no redirect."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._closed = Event()
        self._lock = Lock()
        self._running = 0
        self._client = _client(endpoint)

    def exchange(self, method: str, path: str, said: object, most_bytes: int) -> Answer:
        """The answer to `said`, as JSON (None: nothing is sent); `most_bytes` bounds the answer.

        Raises Refusal: `endpoint-unavailable` (transient) where the last attempt failed or the line was closed meanwhile,
        `endpoint-refused` where the server does not take this content, `endpoint-misconfigured` where it would take none,
        `endpoint-bad-vectors` where the answer is too long.
        """
        body = None if said is None else _encoded(said)
        with self._counted():
            return self._persist(lambda: self._attempt(method, path, body, most_bytes))

    def close(self) -> None:
        """Ends every wait at once. Requests under way end by themselves, within `timeout_s`."""
        with self._lock:
            self._closed.set()
            self._hang_up()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """The client is closed by the last one out: a closed client under a running request is an error of its own kind."""
        with self._lock:
            self._refuse_closed()
            self._running += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1
                self._hang_up()

    def _hang_up(self) -> None:
        if self._closed.is_set() and not self._running:
            self._client.close()

    def _refuse_closed(self) -> None:
        if self._closed.is_set():
            raise Refusal("endpoint-unavailable", f"the line to {self._endpoint.host} was closed", transient=True)

    def _persist(self, attempt: Callable[[], Answer | Failed | Refusal]) -> Answer:
        number = 1
        while isinstance(outcome := attempt(), Failed):
            self._wait(number, outcome)
            number += 1
        if isinstance(outcome, Refusal):
            raise outcome
        return outcome

    def _wait(self, number: int, failed: Failed) -> None:
        """Until attempt `number` + 1 may be made; Refusal where there is none, or it may be made too late."""
        endpoint = self._endpoint
        said = f"{endpoint.host} {failed.what}"
        if number >= endpoint.attempts:
            raise Refusal("endpoint-unavailable", f"{said}, at attempt {number} of {endpoint.attempts}", transient=True)
        if (after_s := failed.after_s or 0.0) > endpoint.longest_wait_s:
            asked = f"{said} and asks for a wait of {after_s:.0f} s, longer than {endpoint.longest_wait_s:g} s"
            raise Refusal("endpoint-unavailable", asked, transient=True)
        self._closed.wait(min(endpoint.longest_wait_s, after_s + _jittered(endpoint, number)))
        self._refuse_closed()

    def _attempt(self, method: str, path: str, body: bytes | None, most_bytes: int) -> Answer | Failed | Refusal:
        from huggingface_hub.utils import httpx

        endpoint = self._endpoint
        try:
            with self._client.stream(method, endpoint.at(path), content=body) as response:
                return _verdict(response, endpoint.host) or _read(response, endpoint, most_bytes)
        except httpx.TransportError as error:
            # its message may quote what the server sent: the type's name is all that is passed on
            return _untrusted(error, endpoint.host) or Failed(f"failed with {type(error).__name__}")


def _client(endpoint: Endpoint) -> Client:
    # httpx or httpx2, whichever came with huggingface_hub: this name stays
    from huggingface_hub.utils import httpx

    # a compressed answer could unfold beyond any bound in one piece
    headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
    if endpoint.api_key is not None:
        headers["Authorization"] = f"Bearer {endpoint.api_key}"
    limits = httpx.Limits(max_connections=endpoint.concurrency, max_keepalive_connections=endpoint.concurrency)
    # waiting for a connection is waiting for our own other requests
    timeout = httpx.Timeout(endpoint.timeout_s, pool=None)
    client: Client = httpx.Client(headers=headers, limits=limits, timeout=timeout, follow_redirects=False)
    return client


def _encoded(said: object) -> bytes:
    """A lone surrogate makes invalid UTF-8, which the server refuses; here it would be an error that carries the text."""
    return json.dumps(said, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _read(response: Response, endpoint: Endpoint, most_bytes: int) -> Answer | Failed | Refusal:
    """The body, within `timeout_s` as a whole: the client's own timeout begins again with every piece."""
    body = bytearray()
    deadline = monotonic() + endpoint.timeout_s
    for piece in response.iter_raw():
        body += piece
        if len(body) > most_bytes:
            return Refusal("endpoint-bad-vectors", f"{endpoint.host} answered more than {most_bytes} bytes")
        if monotonic() > deadline:
            return Failed(f"took longer than {endpoint.timeout_s:g} s over an answer")
    return Answer(response.headers, bytes(body))


# ── what a failure means ─────────────────────────────────────────────────────────────────────────────────────

_AGAIN = frozenset({408, 424, 425, 429})
"""Beside 5xx. 424 is TEI's status for a failed forward pass."""
_NEVER = frozenset({501, 505})
_REFUSED = frozenset({400, 413, 422})
_KEY_REMEDY = "Check the endpoint's api_key, and what it may be used for."
_REDIRECT_REMEDY = "Configure the url that it redirects to: no redirect is followed, it could carry the key elsewhere."
_REMEDIES = {401: _KEY_REMEDY, 402: _KEY_REMEDY, 403: _KEY_REMEDY, **dict.fromkeys(range(300, 400), _REDIRECT_REMEDY)}
_URL_REMEDY = "Check the endpoint's url, protocol and model."


def _verdict(response: Response, host: str) -> Failed | Refusal | None:
    """What the status says; None where it is success."""
    status = response.status_code
    if 200 <= status < 300:
        return None
    if status in _AGAIN or (status >= 500 and status not in _NEVER):
        return Failed(f"answered {status}", _retry_after_s(response.headers))
    if status in _REFUSED:
        return Refusal("endpoint-refused", f"{host} answered {status} to what it was sent")
    return Refusal("endpoint-misconfigured", f"{host} answered {status}", _REMEDIES.get(status, _URL_REMEDY))


def _untrusted(error: BaseException, host: str) -> Refusal | None:
    """A certificate that does not hold now will not hold in a second."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            remedy = "Check the url's host, or name the authority that signed for it in SSL_CERT_FILE."
            return Refusal("endpoint-misconfigured", f"the certificate of {host} cannot be verified", remedy)
        cause = cause.__cause__ or cause.__context__
    return None


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` asks for, in either form (RFC 9110, 10.2.3), or None. A date is compared with the server's own clock."""
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
    except (ValueError, TypeError, IndexError, OverflowError):  # what a strange date makes of the parser
        return None


def _jittered(endpoint: Endpoint, number: int) -> float:
    """Full jitter: evenly from 0 to the exponential bound (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015)."""
    return SystemRandom().uniform(0.0, min(endpoint.longest_wait_s, math.ldexp(endpoint.first_wait_s, min(number - 1, 60))))
