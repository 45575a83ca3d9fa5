"""Vectors from an endpoint: order, validation, retries, charges, and no text or key in errors and logs.

The server is a real one. It plays a script of replies, one per request, and replies correctly after the script.
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
import socket
import ssl
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedders.backend import Backend, Item, Vectors
from embedders.endpoint import _retry_after_s
from embedders.http_backend import Endpoint, HttpBackend, identity
from embedders.refusal import Refusal

pytestmark = pytest.mark.slow

DIMENSION = 8
KEY = "sk-secret-8311"
SECRET = "Ada Lovelace lives here"
INFO = {
    "model_id": "some/model",
    "model_sha": "fca14538",
    "model_dtype": "float16",
    "model_type": {"embedding": {"pooling": "mean"}},
    "max_client_batch_size": 32,
    "version": "1.9.3",
}

Play = Callable[["Handler", Any], None]
"""Handles one request, given its JSON."""


def raw(text: str) -> list[float]:
    """A vector, not of unit length, that only this text has."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4 * DIMENSION).digest()
    return [float(number) for number in np.frombuffer(digest, dtype=np.int32) / 2.0**20]


def expected(texts: Sequence[str]) -> Vectors:
    whole = np.array([raw(text) for text in texts]).reshape(len(texts), DIMENSION)
    unit: Vectors = (whole / np.linalg.norm(whole, axis=1, keepdims=True)).astype(np.float32)
    return unit


class Handler(BaseHTTPRequestHandler):
    """Keeps connections open and sends bytes at once, as real servers do."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_POST(self) -> None:
        payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.note(self, payload)
        with self.server.request_in_flight():
            (self.server.next_play() or correct)(self, payload)

    def do_GET(self) -> None:
        self.server.note(self, None)
        (self.server.next_play() or partial(reply, content=self.server.info))(self, None)

    def log_message(self, *_: object) -> None: ...


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[Play] = []
        self.info: Any = dict(INFO)
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.came = threading.Event()
        self.in_flight, self.max_in_flight = 0, 0
        self._lock = threading.Lock()

    def plays(self, *script: Play) -> None:
        self.script = list(script)

    def next_play(self) -> Play | None:
        with self._lock:
            return self.script.pop(0) if self.script else None

    def note(self, handler: Handler, payload: Any) -> None:
        self.requests.append((handler.path, {name.lower(): value for name, value in handler.headers.items()}, payload))
        self.came.set()

    def request_in_flight(self) -> _InFlight:
        return _InFlight(self)

    def handle_error(self, *_: object) -> None:
        """Ignore clients that hang up: some tests do so."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _InFlight:
    def __init__(self, server: Server) -> None:
        self.server = server

    def __enter__(self) -> None:
        with self.server._lock:
            self.server.in_flight += 1
            self.server.max_in_flight = max(self.server.max_in_flight, self.server.in_flight)

    def __exit__(self, *_: object) -> None:
        with self.server._lock:
            self.server.in_flight -= 1


# ── the server's replies ─────────────────────────────────────────────────────────────────────────────────


def reply(handler: Handler, _: Any = None, *, content: Any, status: int = 200, **headers: str) -> None:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def vectors(handler: Handler, rows: Sequence[Any]) -> None:
    """Reply with these rows in the protocol of this path, shuffled if the protocol allows; ten tokens per row."""
    if handler.path.endswith("/embed"):
        reply(handler, content=rows, x_compute_tokens=str(10 * len(rows)))
    else:
        data = [{"object": "embedding", "index": at, "embedding": row} for at, row in enumerate(rows)]
        random.Random(len(rows)).shuffle(data)
        reply(handler, content={"data": data, "usage": {"total_tokens": 10 * len(rows)}})


def texts_of(payload: Any) -> list[str]:
    found: list[str] = payload["input" if "input" in payload else "inputs"]
    return found


def correct(handler: Handler, payload: Any) -> None:
    vectors(handler, [raw(text) for text in texts_of(payload)])


def status(code: int, **headers: str) -> Play:
    """Reply with a status, and the request's own text in the body, as careless servers do."""

    def play(handler: Handler, payload: Any) -> None:
        reply(handler, content={"error": payload, "key": handler.headers.get("Authorization")}, status=code, **headers)

    return play


def slow(seconds: float) -> Play:
    def play(handler: Handler, payload: Any) -> None:
        sleep(seconds)
        correct(handler, payload)

    return play


def trickle(handler: Handler, payload: Any) -> None:
    """Reply a little at a time, without end."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    for _ in range(450):
        handler.wfile.write(b" ")
        sleep(0.02)


def cut(handler: Handler, payload: Any) -> None:
    """Close the connection in the middle of the body."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(b'{"data": [')
    hang_up(handler, payload)


def hang_up(handler: Handler, _: Any) -> None:
    handler.wfile.flush()
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def content(body: Any) -> Play:
    return partial(reply, content=body)


def rows(*given: Any) -> Play:
    return lambda handler, _: vectors(handler, given)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def endpoint(server: Server, **changed: Any) -> Endpoint:
    plain = Endpoint(server.address, "openai", "some/model", KEY, DIMENSION, first_wait_s=0.001, timeout_s=5)
    return replace(plain, **changed)


def embed(backend: HttpBackend, texts: Sequence[str]) -> Vectors:
    return backend.forward(backend.prepare([Item(text, [0]) for text in texts]))


def embedded(server: Server, texts: Sequence[str], **changed: Any) -> Vectors:
    backend = HttpBackend(endpoint(server, **changed))
    try:
        return embed(backend, texts)
    finally:
        backend.close()


def refused(server: Server, texts: Sequence[str] = ("a", "b"), **changed: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        embedded(server, texts, **changed)
    return caught.value


both_protocols = pytest.mark.parametrize("protocol", ["openai", "tei"])

# ── success ───────────────────────────────────────────────────────────────────────────────────────────────────


@both_protocols
def test_the_backend_names_the_host(server: Server, protocol: str) -> None:
    backend = HttpBackend(endpoint(server, protocol=protocol, concurrency=3, batch_tokens=77))
    as_declared: Backend = backend
    assert (as_declared.name, as_declared.device, as_declared.precision) == ("http", "127.0.0.1", "unknown")
    assert (as_declared.dimension, as_declared.lanes, as_declared.batch_tokens, as_declared.pads) == (DIMENSION, 3, 77, False)
    backend.close()
    assert not server.requests


@both_protocols
def test_order_is_kept_under_any_split_and_vectors_are_of_unit_length(server: Server, protocol: str) -> None:
    """The server shuffles rows that have an index."""
    with ExitStack() as stack:
        backends = {size: HttpBackend(endpoint(server, protocol=protocol, batch_texts=size)) for size in (1, 2, 3, 7)}
        for backend in backends.values():
            stack.callback(backend.close)

        @settings(max_examples=30)
        @given(st.sampled_from(sorted(backends)), st.lists(st.text(), max_size=20))
        def holds(size: int, texts: list[str]) -> None:
            server.requests.clear()
            found = embed(backends[size], texts)
            assert found.dtype == np.float32
            assert found.shape == (len(texts), DIMENSION)
            assert np.allclose(found, expected(texts), atol=1e-6)
            assert [len(texts_of(payload)) for _, _, payload in server.requests] == [
                len(texts[at : at + size]) for at in range(0, len(texts), size)
            ]

        holds()


def test_an_openai_request_names_the_model_and_the_dimension(server: Server) -> None:
    embedded(server, ["é", "b"])
    ((path, headers, payload),) = server.requests
    assert path == "/v1/embeddings"
    assert payload == {"model": "some/model", "input": ["é", "b"], "encoding_format": "float", "dimensions": DIMENSION}
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["content-type"] == "application/json"


def test_a_tei_request_forbids_truncation_explicitly(server: Server) -> None:
    embedded(server, ["a"], protocol="tei", api_key=None, url=server.address + "/")
    ((path, headers, payload),) = server.requests
    assert path == "/v1/embed"
    assert payload == {"inputs": ["a"], "truncate": False, "normalize": True}
    assert "authorization" not in headers


@both_protocols
def test_an_unconfigured_dimension_is_determined_by_one_request(server: Server, protocol: str) -> None:
    backend = HttpBackend(endpoint(server, protocol=protocol, dimension=None))
    assert backend.dimension == DIMENSION
    assert np.allclose(embed(backend, ["a"]), expected(["a"]), atol=1e-6)
    assert len(server.requests) == 2
    assert all("dimensions" not in payload for _, _, payload in server.requests)
    backend.close()


@both_protocols
def test_tokens_charged_are_the_sum_over_all_threads(server: Server, protocol: str) -> None:
    backend = HttpBackend(endpoint(server, protocol=protocol, batch_texts=2))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda at: embed(backend, [f"{at}", "b", "c"]), range(40)))
    assert backend.tokens_charged == 40 * 3 * 10
    backend.close()


def test_tokens_of_an_invalid_reply_are_charged(server: Server) -> None:
    backend = HttpBackend(endpoint(server))
    server.plays(rows([1.0]), content({"data": [], "usage": {"total_tokens": "many"}}), content({"usage": {"total_tokens": -3}}))
    for _ in range(3):
        with pytest.raises(Refusal):
            embed(backend, ["a"])
    assert backend.tokens_charged == 10
    backend.close()


def test_requests_in_flight_are_never_more_than_concurrency(server: Server) -> None:
    backend = HttpBackend(endpoint(server, concurrency=3))
    server.plays(*[slow(0.03)] * 24)
    with ThreadPoolExecutor(12) as threads:
        found = list(threads.map(lambda at: embed(backend, [str(at)]), range(24)))
    assert np.allclose(np.concatenate(found), expected([str(at) for at in range(24)]), atol=1e-6)
    assert server.max_in_flight == 3
    backend.close()


# ── retries ────────────────────────────────────────────────────────────────────────────────────────────────────

PASSING = {
    "too many requests": status(429),
    "TEI's backend": status(424),
    "server error": status(500),
    "bad gateway": status(502),
    "unavailable": status(503),
    "gateway timeout": status(504),
    "overloaded": status(529),
    "cut": cut,
    "hung up": hang_up,
    "wait no time": status(429, Retry_After="0"),
    "wait until the past": status(503, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
    "wait for nonsense": status(503, Retry_After="soon"),
}


@both_protocols
@pytest.mark.parametrize("failure", PASSING)
def test_a_transient_failure_is_retried(server: Server, failure: str, protocol: str) -> None:
    server.plays(PASSING[failure], PASSING[failure])
    assert np.allclose(embedded(server, ["a", "b"], protocol=protocol), expected(["a", "b"]), atol=1e-6)
    assert len(server.requests) == 3
    assert len({json.dumps(payload) for _, _, payload in server.requests}) == 1


@pytest.mark.parametrize("play", [slow(9), trickle], ids=["silent", "trickling"])
def test_a_reply_that_takes_too_long_is_abandoned_and_requested_again(server: Server, play: Play) -> None:
    server.plays(play)
    began = monotonic()
    assert np.allclose(embedded(server, ["a"], timeout_s=0.5), expected(["a"]), atol=1e-6)
    assert monotonic() - began < 5
    assert len(server.requests) == 2


@pytest.mark.parametrize("play", [status(503), cut], ids=["503", "cut"])
def test_after_the_last_attempt_the_endpoint_is_unavailable_which_is_transient(server: Server, play: Play) -> None:
    server.plays(*[play] * 9)
    refusal = refused(server, attempts=3)
    assert (refusal.reason, refusal.transient) == ("endpoint-unavailable", True)
    assert "127.0.0.1" in refusal.detail
    assert "at attempt 3 of 3" in refusal.detail
    assert len(server.requests) == 3


def test_a_missing_server_is_unavailable(server: Server) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        refusal = refused(server, url=f"http://127.0.0.1:{taken.getsockname()[1]}", attempts=2)
    assert (refusal.reason, refusal.transient) == ("endpoint-unavailable", True)
    assert "ConnectError" in refusal.detail


def later(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


def test_retry_after_in_seconds_is_waited_for(server: Server) -> None:
    server.plays(status(429, Retry_After="0.3"))
    began = monotonic()
    embedded(server, ["a"])
    assert 0.3 <= monotonic() - began < 5


def test_retry_after_as_a_date_is_waited_for_by_the_servers_own_clock(server: Server) -> None:
    """An hour from now by our clock; a second by the server's, which is 59 minutes and 59 seconds ahead."""
    now = datetime.now(UTC).replace(microsecond=0)
    dates = [format_datetime(now + timedelta(seconds=ahead), usegmt=True) for ahead in (3600, 3599)]

    def play(handler: Handler, payload: Any) -> None:
        handler.date_time_string = lambda timestamp=None: dates[1]  # type: ignore[method-assign]
        status(503, Retry_After=dates[0])(handler, payload)

    server.plays(play)
    began = monotonic()
    embedded(server, ["a"])
    assert 1 <= monotonic() - began < 10


@pytest.mark.parametrize("wait", ["31", later(3600), "9" * 400], ids=["seconds", "date", "endless"])
def test_a_retry_after_beyond_the_longest_wait_fails_at_once(server: Server, wait: str) -> None:
    server.plays(status(429, Retry_After=wait))
    began = monotonic()
    refusal = refused(server, longest_wait_s=30)
    assert (refusal.reason, refusal.transient) == ("endpoint-unavailable", True)
    assert "asks for a wait of" in refusal.detail
    assert "longer than 30 s" in refusal.detail
    assert monotonic() - began < 5
    assert len(server.requests) == 1


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ \d+:\d+:\d+ \S+", fullmatch=True))
def test_any_retry_after_is_a_wait_or_none(value: str) -> None:
    found = _retry_after_s({"retry-after": value, "date": value})
    assert found is None or found >= 0


def test_close_ends_a_wait_at_once(server: Server) -> None:
    server.plays(status(429, Retry_After="25"))
    backend = HttpBackend(endpoint(server))
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(embed, backend, ["a"])
        assert server.came.wait(5)
        sleep(0.1)
        assert not waiting.done()
        began = monotonic()
        backend.close()
        with pytest.raises(Refusal, match="closed") as caught:
            waiting.result(5)
    assert monotonic() - began < 5
    assert (caught.value.reason, caught.value.transient) == ("endpoint-unavailable", True)
    assert len(server.requests) == 1


def test_close_lets_a_request_in_flight_end(server: Server) -> None:
    server.plays(slow(0.2))
    backend = HttpBackend(endpoint(server))
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(embed, backend, ["a"])
        assert server.came.wait(5)
        backend.close()
        assert np.allclose(running.result(5), expected(["a"]), atol=1e-6)


def test_a_closed_backend_refuses_requests(server: Server) -> None:
    backend = HttpBackend(endpoint(server))
    backend.close()
    backend.close()
    with pytest.raises(Refusal, match="closed"):
        embed(backend, ["a"])
    assert not server.requests


# ── permanent failures ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("code", [400, 413, 422])
def test_only_a_request_with_the_culprit_is_refused(server: Server, code: int) -> None:
    """So that a caller that bisects its batches finds that text."""

    def play(handler: Handler, payload: Any) -> None:
        (status(code) if SECRET in texts_of(payload) else correct)(handler, payload)

    server.plays(*[play] * 4)
    refusal = refused(server, ["a", SECRET])
    assert (refusal.reason, refusal.transient) == ("endpoint-refused", False)
    assert len(server.requests) == 1
    assert refused(server, [SECRET]).reason == "endpoint-refused"
    assert np.allclose(embedded(server, ["a"]), expected(["a"]), atol=1e-6)


def test_a_lone_surrogate_is_refused_by_the_server_without_an_error_that_contains_the_text(server: Server) -> None:
    """The engine replaces them before."""
    server.plays(status(400))
    assert refused(server, ["\ud800"]).reason == "endpoint-refused"
    assert len(server.requests) == 1


@pytest.mark.parametrize("code", [401, 402, 403, 404, 405, 410, 501])
def test_a_failure_for_every_text_is_a_misconfiguration_with_a_remedy(server: Server, code: int) -> None:
    server.plays(status(code))
    refusal = refused(server)
    assert (refusal.reason, refusal.transient) == ("endpoint-misconfigured", False)
    assert str(code) in refusal.detail
    assert ("api_key" in refusal.remedy) == (code in {401, 402, 403})
    assert refusal.remedy
    assert len(server.requests) == 1


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(server: Server, code: int) -> None:
    server.plays(status(code, Location=server.address + "/elsewhere"))
    refusal = refused(server)
    assert (refusal.reason, refusal.transient) == ("endpoint-misconfigured", False)
    assert "redirect" in refusal.remedy
    assert [path for path, _, _ in server.requests] == ["/v1/embeddings"]


@pytest.fixture
def tls_server(server: Server, tmp_path: Path) -> Server:
    """A server with a self-signed certificate."""
    (tmp_path / "cert.pem").write_bytes(self_signed())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server


def self_signed() -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(
            subject, subject, key.public_key(), x509.random_serial_number(), now - timedelta(days=1), now + timedelta(days=1)
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(pem, form, serialization.NoEncryption()) + signed.public_bytes(pem)


def test_a_certificate_that_cannot_be_verified_is_refused_before_anything_is_sent(tls_server: Server) -> None:
    url = tls_server.address.replace("http://127.0.0.1", "https://localhost")
    refusal = refused(tls_server, url=url)
    assert (refusal.reason, refusal.transient) == ("endpoint-misconfigured", False)
    assert "certificate" in refusal.detail
    assert not tls_server.requests


def test_a_certificate_of_a_configured_authority_is_accepted(tls_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    url = tls_server.address.replace("http://127.0.0.1", "https://localhost")
    assert np.allclose(embedded(tls_server, ["a"], url=url), expected(["a"]), atol=1e-6)


# ── invalid vectors ────────────────────────────────────────────────────────────────────────────────────

GOOD, OTHER = [1.0] * DIMENSION, [2.0] * DIMENSION
NAN, INF = float("nan"), float("inf")
ROWS = {
    "of two dimensions": (GOOD, GOOD[1:]),
    "empty": ([], []),
    "NaN": (GOOD, [NAN, *GOOD[1:]]),
    "infinite": (GOOD, [INF, *GOOD[1:]]),
    "overflowing": (GOOD, [1e200, *GOOD[1:]]),
    "a huge integer": (GOOD, [10**400, *GOOD[1:]]),
    "zero": (GOOD, [0.0] * DIMENSION),
    "as good as zero": (GOOD, [1e-160] * DIMENSION),
    "strings": (["1.0"] * DIMENSION, ["1.0"] * DIMENSION),
    "booleans": ([True] * DIMENSION, [True] * DIMENSION),
    "null": (GOOD, None),
    "null inside": (GOOD, [None, *GOOD[1:]]),
    "an object": (GOOD, {"text": SECRET}),
    "nested": ([GOOD], [GOOD]),
    "fewer than texts": (GOOD,),
    "more than texts": (GOOD, GOOD, GOOD),
    "none": (),
}


def bad_vectors(server: Server, **changed: Any) -> None:
    refusal = refused(server, ["a", SECRET], **changed)
    assert (refusal.reason, refusal.transient) == ("endpoint-bad-vectors", False)
    assert "127.0.0.1" in refusal.detail
    assert SECRET not in repr(refusal)
    assert len(server.requests) == 1


@both_protocols
@pytest.mark.parametrize("kind", ROWS)
def test_rows_that_are_not_one_valid_vector_per_text_are_refused(server: Server, kind: str, protocol: str) -> None:
    server.plays(rows(*ROWS[kind]))
    bad_vectors(server, protocol=protocol)


@both_protocols
@pytest.mark.parametrize("given", [DIMENSION - 1, DIMENSION + 1])
def test_a_wrong_dimension_is_a_misconfiguration_that_states_both(server: Server, protocol: str, given: int) -> None:
    server.plays(rows([1.0] * given, [2.0] * given))
    refusal = refused(server, ["a", SECRET], protocol=protocol)
    assert (refusal.reason, refusal.transient) == ("endpoint-misconfigured", False)
    assert f"of dimension {given}, not {DIMENSION}" in refusal.detail


def listed(*places: Any) -> dict[str, Any]:
    return {"data": [{"index": at, "embedding": GOOD} for at in places]}


BODIES = {
    "not JSON": b"<html>" + SECRET.encode() + b"</html>",
    "not UTF-8": b'{"data": "\xff"}',
    "half JSON": b'{"data": [',
    "nothing": b"",
    "null": None,
    "a number": 3,
    "nested without end": b"[" * 50_000,
    "another object": {"error": SECRET},
    "data that is no list": {"data": {"0": GOOD}},
    "rows that are no objects": {"data": [GOOD, OTHER]},
    "an index twice": listed(0, 0),
    "an index beyond": listed(0, 2),
    "a negative index": listed(0, -1),
    "no index": {"data": [{"embedding": GOOD}, {"embedding": OTHER}]},
    "an index missing": {"data": [{"index": 0, "embedding": GOOD}, {"embedding": OTHER}]},
    "an index that is true": listed(0, True),
    "an index that is a list": listed(0, [1]),
    "an index that is a string": listed("0", "1"),
}


@both_protocols
@pytest.mark.parametrize("kind", BODIES)
def test_malformed_bodies_are_refused_without_quoting_them(server: Server, kind: str, protocol: str) -> None:
    server.plays(content(BODIES[kind]))
    bad_vectors(server, protocol=protocol)


@both_protocols
def test_a_correct_reply_that_is_too_long_is_refused(server: Server, protocol: str) -> None:
    found = listed(0, 1) if protocol == "openai" else [GOOD, OTHER]
    server.plays(content(json.dumps(found).encode() + b" " * 100_000))
    bad_vectors(server, protocol=protocol)


def test_a_compressed_reply_is_neither_requested_nor_decompressed(server: Server) -> None:
    """A few kilobytes may decompress to gigabytes, in one piece."""
    import gzip

    server.plays(partial(reply, content=gzip.compress(json.dumps(listed(0, 1)).encode()), Content_Encoding="gzip"))
    bad_vectors(server)
    assert server.requests[0][1]["accept-encoding"] == "identity"


def test_a_probe_that_fails_leaves_no_connection_open(server: Server) -> None:
    server.plays(rows([]))
    assert refused(server, dimension=None).reason == "endpoint-bad-vectors"


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────────

TALKATIVE = {**PASSING, "refused": status(400), "forbidden": status(401), "redirect": status(302, Location="/else"), "slow": trickle}


@pytest.mark.parametrize("failure", TALKATIVE)
def test_neither_key_nor_text_is_in_an_error_or_a_log_line(server: Server, failure: str, caplog: pytest.LogCaptureFixture) -> None:
    server.plays(*[TALKATIVE[failure]] * 2)
    with caplog.at_level(logging.DEBUG):
        refusal = refused(server, [SECRET], attempts=2, timeout_s=0.2)
    lines = [*traceback.format_exception(refusal), repr(refusal), refusal.remedy, caplog.text]
    assert not [line for line in lines if KEY in line or SECRET in line]
    assert refusal.__cause__ is None
    assert refusal.__context__ is None


def test_neither_key_nor_text_is_logged_on_success(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        embedded(server, [SECRET])
    assert KEY not in caplog.text
    assert SECRET not in caplog.text


def test_an_endpoint_shows_its_url_and_not_its_key(server: Server) -> None:
    assert KEY not in repr(endpoint(server))
    assert server.address in repr(endpoint(server))


# ── configuration ───────────────────────────────────────────────────────────────────────────────────

BAD: list[tuple[str, Any, str]] = [
    *[("url", url, repr(url)) for url in ("", "ftp://h/v1", "localhost:80", "http://", "http:///v1", "http://a..b/", "http://h:99999/")],
    *[("url", url, repr(url)) for url in ("http://h:0/", "http://h h/", "http://[::g]/", "http://h\n/", "http://ümlaut/", "http://%41/")],
    ("protocol", "grpc", "'grpc'"),
    ("model", " ", "' '"),
    ("dimension", 0, "0"),
    ("dimension", 1.5, "1.5"),
    *[(name, value, repr(value)) for name in ("batch_texts", "batch_tokens", "concurrency", "attempts") for value in (0, -1, 2.5)],
    *[(name, value, repr(value)) for name in ("timeout_s", "first_wait_s", "longest_wait_s") for value in (0, -1.0, NAN, INF)],
    ("longest_wait_s", 0.0001, "0.0001"),
]


@pytest.mark.parametrize(("name", "value", "shown"), BAD)
def test_a_bad_value_is_refused_with_its_name_and_value(server: Server, name: str, value: Any, shown: str) -> None:
    with pytest.raises(Refusal) as caught:
        endpoint(server, **{name: value})
    assert caught.value.reason == "bad-endpoint"
    assert name in caught.value.detail
    assert f"was: {shown}" in caught.value.detail


@pytest.mark.parametrize("url", [f"http://u:{KEY}@h/", f"http://{KEY}@h/", f"http://h/?key={KEY}", f"http://h/#{KEY}", f"ftp://{KEY}@h"])
def test_a_credential_in_the_url_is_refused_and_not_shown(server: Server, url: str) -> None:
    with pytest.raises(Refusal, match="url must") as caught:
        endpoint(server, url=url)
    assert KEY not in repr(caught.value)


@pytest.mark.parametrize("key", ["", f"{KEY}\r\nX-Other: 1", f"{KEY} ", f"{KEY}é"])
def test_a_key_that_is_not_a_valid_header_is_refused_and_not_shown(server: Server, key: str) -> None:
    with pytest.raises(Refusal, match="api_key") as caught:
        endpoint(server, api_key=key)
    assert caught.value.reason == "bad-endpoint"
    assert KEY not in repr(caught.value)


@pytest.mark.parametrize(
    ("url", "host"), [("HTTPS://Api.Example/v1/", "api.example"), ("http://[::1]:80", "::1"), ("http://tei_0.svc:8080/a%20b", "tei_0.svc")]
)
def test_the_host_excludes_port_and_path(url: str, host: str) -> None:
    assert Endpoint(url, "tei", "m").host == host


# ── identity ─────────────────────────────────────────────────────────────────────────────────────────────────

PROMPTS = {"query": "query: ", "passage": "passage: "}


def tei_identity(server: Server, **payload: Any) -> str:
    server.info = {**INFO, **payload}
    return identity(endpoint(server, protocol="tei"), "t" * 32, PROMPTS)


def test_identity_covers_everything_that_decides_the_vectors(server: Server) -> None:
    openai = endpoint(server)
    found = [
        identity(openai, "t" * 32, PROMPTS),
        identity(replace(openai, model="other"), "t" * 32, PROMPTS),
        identity(replace(openai, dimension=4), "t" * 32, PROMPTS),
        identity(replace(openai, dimension=None), "t" * 32, PROMPTS),
        identity(openai, "u" * 32, PROMPTS),
        identity(openai, "t" * 32, {"query": "query: "}),
        identity(openai, "t" * 32, {"query": "passage: ", "passage": "query: "}),
        tei_identity(server),
        tei_identity(server, model_sha="another"),
        tei_identity(server, model_sha=None),
        tei_identity(server, model_id="other/model"),
        tei_identity(server, model_type={"embedding": {"pooling": "cls"}}),
    ]
    assert len(set(found)) == len(found)
    assert all(len(one) == 32 and int(one, 16) for one in found)


def test_identity_excludes_host_key_limits_and_precision(server: Server) -> None:
    openai, elsewhere = endpoint(server), Endpoint("https://other.example/api", "openai", "some/model", "k", DIMENSION, batch_texts=2)
    assert identity(openai, "t", PROMPTS) == identity(elsewhere, "t", dict(reversed(PROMPTS.items())))
    assert tei_identity(server) == tei_identity(server, model_dtype="float32", version="2.0", max_client_batch_size=8)


def test_identity_of_an_openai_endpoint_sends_no_request(server: Server) -> None:
    identity(endpoint(server), "t", PROMPTS)
    assert not server.requests


def test_identity_of_a_tei_endpoint_waits_for_a_server_that_is_starting(server: Server) -> None:
    server.plays(status(503), cut)
    assert tei_identity(server) == tei_identity(server)
    assert [(path, headers["authorization"]) for path, headers, _ in server.requests] == [("/v1/info", f"Bearer {KEY}")] * 4


@pytest.mark.parametrize("payload", [{"model_type": {"reranker": {}}}, {"model_type": None}, {"model_id": None}])
def test_a_tei_server_without_an_embedding_model_is_a_misconfiguration(server: Server, payload: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as caught:
        tei_identity(server, **payload)
    assert (caught.value.reason, caught.value.transient) == ("endpoint-misconfigured", False)
    assert caught.value.remedy
