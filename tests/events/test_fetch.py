"""Content by reference: a publisher's uri reaches what the operator allows, and nothing else."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from core.config import Fetching
from core.errors import DocumentError, HeadraceError, Unavailable
from events.fetch.content import fetch
from events.fetch.http import _tls, public

BODY = b"a document" * 100
SECRET = "Ada-Lovelace"


def refusal(uri: str, fetching: Fetching, sha256: str | None = None) -> str:
    with pytest.raises(DocumentError) as caught:
        fetch(uri, fetching, sha256)
    return caught.value.reason


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An allowed folder, next to a secret one that is not allowed."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_bytes(b"secret")
    (tmp_path / "in" / "sub dir").mkdir(parents=True)
    (tmp_path / "in" / "sub dir" / "ä.txt").write_bytes(BODY)
    return tmp_path / "in"


def test_a_file_under_a_root_is_fetched(root: Path) -> None:
    fetching = Fetching(roots=(root,))
    assert fetch((root / "sub dir" / "ä.txt").as_uri(), fetching, hashlib.sha256(BODY).hexdigest().upper()) == BODY
    assert fetch((root / "sub dir" / "ä.txt").as_uri().replace("file://", "file://localhost"), fetching, None) == BODY


def test_a_link_inside_the_root_is_followed(root: Path) -> None:
    (root / "link").symlink_to(root / "sub dir" / "ä.txt")
    assert fetch((root / "link").as_uri(), Fetching(roots=(root,)), None) == BODY


def test_nothing_outside_the_roots_is_read(root: Path) -> None:
    (root / "link").symlink_to(root.parent / "outside" / "secret.txt")
    (root / "folder").symlink_to(root.parent / "outside")
    fetching = Fetching(roots=(root,))
    outside = root.parent.as_uri() + "/outside/secret.txt"
    paths = ["/link", "/folder/secret.txt", "/../outside/secret.txt", "/%2e%2e/outside/secret.txt", "/sub%20dir/..%2f../outside/secret.txt"]
    assert {refusal(root.as_uri() + path, fetching) for path in paths} == {"uri-not-allowed"}
    assert refusal(outside, fetching) == refusal(outside + ".missing", fetching) == "uri-not-allowed"
    assert refusal(root.as_uri() + "x/ä.txt".replace("ä", "a"), fetching) == "uri-not-allowed"
    assert refusal(outside, Fetching()) == "uri-not-allowed"


def test_a_link_that_appears_after_the_check_is_not_followed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A race: the path is a folder when it is checked, and a link to the outside when it is opened."""
    (root / "sub").mkdir()
    (root / "sub" / "secret.txt").write_bytes(b"harmless")
    resolve = Path.resolve

    def resolve_then_swap(path: Path, strict: bool = False) -> Path:
        found = resolve(path, strict)
        if found.name == "secret.txt":
            (root / "sub").rename(root / "old")
            (root / "sub").symlink_to(root.parent / "outside")
        return found

    monkeypatch.setattr(Path, "resolve", resolve_then_swap)
    assert refusal((root / "sub").as_uri() + "/secret.txt", Fetching(roots=(root,))) in {"fetch-refused", "fetch-not-found"}


def test_only_regular_files_are_read(root: Path) -> None:
    os.mkfifo(root / "pipe")
    fetching = Fetching(roots=(root, Path("/dev")))
    assert refusal((root / "pipe").as_uri(), fetching) == "uri-not-allowed"
    assert refusal("file:///dev/zero", fetching) == "uri-not-allowed"
    assert refusal((root / "sub dir").as_uri(), fetching) == "uri-not-allowed"
    assert refusal(root.as_uri(), fetching) == "uri-not-allowed"


def test_a_file_that_is_missing_or_too_large_says_so(root: Path) -> None:
    uri = (root / "sub dir" / "ä.txt").as_uri()
    assert refusal(root.as_uri() + "/missing", Fetching(roots=(root,))) == "fetch-not-found"
    assert refusal(uri, Fetching(roots=(root,), max_bytes=len(BODY) - 1)) == "fetch-too-large"
    assert fetch(uri, Fetching(roots=(root,), max_bytes=len(BODY)), None) == BODY


def test_other_content_than_the_event_promised_is_refused(root: Path) -> None:
    assert refusal((root / "sub dir" / "ä.txt").as_uri(), Fetching(roots=(root,)), "0" * 64) == "content-hash-mismatch"


STRANGE = [
    "",
    "a/b",
    "ftp://x/a",
    "data:,hello",
    "FILE",
    "file:a",
    "file://server/share/a",
    "file:///a%00b",
    "file:///a%ff",
    "file:///a?b",
    "http://",
    "http:///a",
    "http://[::1",
    "http://host:99999/",
    "http://host:x/",
    "http://host\\@other/",
    "http://ho st/",
    "http://hôst/",
    "http://host/\r\nHost: other",
    "http://user:password@host/",
    "http://user@host/",
    "s3://",
    "s3://bucket",
    "s3://bucket/",
    "s3://bucket/a?versionId=1",
    "s3://other/a",
    "gs://b@bucket/a",
]


@pytest.mark.parametrize("uri", STRANGE)
def test_a_strange_uri_is_not_allowed(uri: str, root: Path) -> None:
    assert refusal(uri, Fetching(roots=(root,), hosts=("host",), buckets=("bucket",))) == "uri-not-allowed"


@given(st.text() | st.from_regex(r"(file|https?|s3|gs)://[ -~]{0,30}", fullmatch=True))
def test_no_uri_whatever_gets_past_an_empty_configuration(uri: str) -> None:
    assert refusal(uri, Fetching()) == "uri-not-allowed"


class Site(BaseHTTPRequestHandler):
    """A web site with one page of each kind."""

    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, str]]
    released: threading.Event

    def do_GET(self) -> None:
        self.seen.append((self.headers["Host"], self.path))
        name = self.path.split("?")[0].strip("/").split("/")[0]
        getattr(self, f"page_{name}", self.page_missing)()

    def page_doc(self) -> None:
        self._answer(200, BODY)

    def page_missing(self) -> None:
        self._answer(404)

    def page_status(self) -> None:
        self._answer(int(self.path.rsplit("/", 1)[1]))

    def page_to(self) -> None:
        self._answer(302, b"", Location=self.path.split("?", 1)[1])

    def page_zipped(self) -> None:
        self._answer(200, BODY, **{"Content-Encoding": "gzip"})

    def page_endless(self) -> None:
        """No length and no end; the client has to close the connection."""
        self._begin()
        try:
            while True:
                self.wfile.write(b"x" * 65536)
        except OSError:
            self.close_connection = True

    def page_short(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"x")
        self.close_connection = True

    def page_drip(self) -> None:
        """One byte at a time, so that no single wait is long."""
        self._begin()
        self._drip(b"x")

    def page_dripheaders(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Endless: ")
        self._drip(b"x")

    def _drip(self, piece: bytes) -> None:
        self.close_connection = True
        try:
            while not self.released.wait(0.02):
                self.wfile.write(piece)
        except OSError:
            return

    def _begin(self) -> None:
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class Server:
    """The site on a loopback port, and the requests that it received."""

    def __init__(self, handler: type[Site], pem: Path | None = None) -> None:
        self.seen: list[tuple[str, str]] = []
        self.released = threading.Event()
        bound = type("Bound", (handler,), {"seen": self.seen, "released": self.released})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), bound)
        self._http.daemon_threads = False
        if pem:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pem)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        self.host = f"127.0.0.1:{self._http.server_port}"
        self.port = self._http.server_port
        self._thread = threading.Thread(target=partial(self._http.serve_forever, poll_interval=0.01))
        self._thread.start()

    def close(self) -> None:
        self.released.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def site() -> Iterator[Server]:
    server = Server(Site)
    yield server
    server.close()


def allowing(site: Server, **more: Any) -> Fetching:
    allowed: dict[str, Any] = {"hosts": (site.host,), "private_hosts": ("127.0.0.1",), "timeout_s": 10}
    return Fetching(**(allowed | more))


def test_a_page_of_an_allowed_host_is_fetched(site: Server) -> None:
    assert fetch(f"http://{site.host}/doc?v=1", allowing(site), hashlib.sha256(BODY).hexdigest()) == BODY
    assert site.seen == [(site.host, "/doc?v=1")]


@pytest.mark.parametrize("hosts", [(), ("example.com",), ("127.0.0.1",), ("127.0.0.1:1",), ("localhost",)])
def test_no_other_host_and_no_other_port_is_asked(site: Server, hosts: tuple[str, ...]) -> None:
    assert refusal(f"http://{site.host}/doc", allowing(site, hosts=hosts)) == "uri-not-allowed"
    assert site.seen == []


def test_an_allowed_host_with_a_private_address_is_not_asked(site: Server) -> None:
    names = (site.host, f"localhost:{site.port}", f"[::ffff:127.0.0.1]:{site.port}", f"2130706433:{site.port}", f"0:{site.port}")
    fetching = allowing(site, hosts=names, private_hosts=())
    assert {refusal(f"http://{name}/doc", fetching) for name in names} == {"uri-not-allowed"}
    assert site.seen == []


def test_the_connection_goes_to_the_address_that_was_checked(site: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is looked up once; a second lookup could return another address."""
    looked_up: list[str] = []
    resolve = socket.getaddrinfo

    def rebinding(host: Any, *more: Any, **options: Any) -> Any:
        looked_up.append(host)
        return resolve("127.0.0.1" if host == "inside.example" else host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    name = f"inside.example:{site.port}"
    assert fetch(f"http://{name}/doc", Fetching(hosts=(name,), private_hosts=("inside.example",)), None) == BODY
    assert looked_up == ["inside.example", "127.0.0.1"]
    assert site.seen == [(name, "/doc")]


def test_redirects_are_followed_to_allowed_hosts_only(site: Server) -> None:
    start = f"http://{site.host}/to?"
    assert fetch(start + "/doc", allowing(site), None) == BODY
    assert fetch(start + f"http://{site.host}/to?/doc", allowing(site), None) == BODY
    asked = len(site.seen)
    elsewhere = [
        "http://example.com/",
        f"http://localhost:{site.port}/doc",
        "file:///etc/passwd",
        "//example.com/",
        "http://[",
        f"http://u@{site.host}/doc",
    ]
    assert {refusal(start + where, allowing(site)) for where in elsewhere} == {"uri-not-allowed"}
    assert len(site.seen) == asked + len(elsewhere)


def test_the_number_of_redirects_is_limited(site: Server) -> None:
    assert refusal(f"http://{site.host}/to?/to?/to?/to?/to?/doc", allowing(site)) == "fetch-refused"
    assert len(site.seen) == 4


@pytest.mark.parametrize(
    ("status", "reason"), [(404, "fetch-not-found"), (410, "fetch-not-found"), (401, "fetch-refused"), (204, "fetch-refused")]
)
def test_a_permanent_error_fails_the_document(site: Server, status: int, reason: str) -> None:
    assert refusal(f"http://{site.host}/status/{status}", allowing(site)) == reason


@pytest.mark.parametrize("page", ["status/500", "status/503", "status/429", "short"])
def test_a_temporary_error_is_unavailable(site: Server, page: str) -> None:
    with pytest.raises(Unavailable):
        fetch(f"http://{site.host}/{page}", allowing(site), None)


def test_a_host_that_is_down_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        fetch("http://127.0.0.1:1/", Fetching(hosts=("127.0.0.1:1",), private_hosts=("127.0.0.1",)), None)


def test_a_body_is_given_up_as_soon_as_it_is_too_large(site: Server) -> None:
    assert refusal(f"http://{site.host}/doc", allowing(site, max_bytes=len(BODY) - 1)) == "fetch-too-large"
    assert refusal(f"http://{site.host}/endless", allowing(site, max_bytes=1_000_000)) == "fetch-too-large"
    assert fetch(f"http://{site.host}/doc", allowing(site, max_bytes=len(BODY)), None) == BODY


@pytest.mark.parametrize("page", ["drip", "dripheaders"])
def test_a_slow_drip_ends_at_the_time_limit(site: Server, page: str) -> None:
    began = monotonic()
    assert refusal(f"http://{site.host}/{page}", allowing(site, timeout_s=0.3)) == "fetch-timeout"
    assert monotonic() - began < 5


def test_an_encoding_that_was_not_requested_is_refused(site: Server) -> None:
    assert refusal(f"http://{site.host}/zipped", allowing(site)) == "fetch-refused"


def test_https_is_spoken_to_the_named_host(site: Server) -> None:
    """The site speaks no TLS: the connection fails, and no request is sent in clear."""
    with pytest.raises(Unavailable):
        fetch(f"https://{site.host}/doc", allowing(site), None)
    assert site.seen == []


@pytest.fixture
def tls_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The site under the name inside.example, with a certificate that is trusted for that name only."""
    pem = tmp_path / "site.pem"
    pem.write_bytes(certificate("inside.example"))
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *more, **o: resolve("127.0.0.1" if host.endswith(".example") else host, *more, **o)
    )
    _tls.cache_clear()
    server = Server(Site, pem)
    yield server
    server.close()
    _tls.cache_clear()


def certificate(name: str) -> bytes:
    """A key and a self-signed certificate, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(
            subject, subject, key.public_key(), x509.random_serial_number(), now - timedelta(days=1), now + timedelta(days=1)
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    unlocked = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, unlocked)
    return pem + signed.public_bytes(serialization.Encoding.PEM)


def test_a_certificate_must_be_for_the_name_in_the_uri(tls_site: Server) -> None:
    names = [f"{name}.example:{tls_site.port}" for name in ("inside", "other")]
    fetching = Fetching(hosts=tuple(names), private_hosts=tuple(names), timeout_s=10)
    assert fetch(f"https://{names[0]}/doc", fetching, None) == BODY
    with pytest.raises(Unavailable):
        fetch(f"https://{names[1]}/doc", fetching, None)
    assert tls_site.seen == [(names[0], "/doc")]


def test_https_never_redirects_to_http(site: Server, tls_site: Server) -> None:
    name = f"inside.example:{tls_site.port}"
    fetching = Fetching(hosts=(name, site.host), private_hosts=(name, site.host), timeout_s=10)
    assert refusal(f"https://{name}/to?http://{site.host}/doc", fetching) == "uri-not-allowed"
    assert fetch(f"http://{site.host}/to?https://{name}/doc", fetching, None) == BODY
    assert [path for _, path in site.seen] == [f"/to?https://{name}/doc"]


PRIVATE_V4 = "0.0.0.0 10.1.2.3 100.64.0.1 127.0.0.1 127.8.8.8 169.254.169.254 172.16.0.1 192.0.2.1 192.168.1.1 198.18.0.1"
RESERVED_V4 = "224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255"
PRIVATE_V6 = ":: ::1 ::7f00:1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 64:ff9b::7f00:1 64:ff9b:1::1 2001::1 2001:db8::1 2002:7f00:1::"
RESERVED_V6 = "fc00::1 fd12::1 fe80::1 fe80::1%eth0 fec0::1 ff02::1"
NOT_PUBLIC = " ".join([PRIVATE_V4, RESERVED_V4, PRIVATE_V6, RESERVED_V6]).split()


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_a_private_or_reserved_address_is_not_public(address: str) -> None:
    assert not public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "172.32.0.1", "2606:4700::1111", "2a00:1450:4001::1", "::ffff:8.8.8.8"])
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert public(address)


class Store(Site):
    """An S3 service with one bucket: path style, signatures unchecked."""

    def do_GET(self) -> None:
        self.seen.append((self.headers["Host"], self.path))
        if self.path == "/bucket/folder/a%20b.pdf":
            self._answer(200, BODY, ETag='"1"', **{"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"})
        elif self.path == "/bucket/drip":
            self.send_response(200)
            for name, value in {"Content-Length": "1000", "ETag": '"1"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}.items():
                self.send_header(name, value)
            self.end_headers()
            self._drip(b"x")
        else:
            self._answer(int(self.path.rsplit("/", 1)[1]))


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    pytest.importorskip("obstore")
    server = Server(Store)
    environment = {
        "AWS_ENDPOINT": f"http://{server.host}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_REGION": "eu-central-1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    yield server
    server.close()


def test_an_object_of_an_allowed_bucket_is_fetched(store: Server) -> None:
    for entry in ("bucket", "s3://bucket"):
        assert fetch("s3://bucket/folder/a%20b.pdf", Fetching(buckets=(entry,)), None) == BODY
    assert refusal("s3://bucket/folder/a%20b.pdf", Fetching(buckets=("gs://bucket", "buck"))) == "uri-not-allowed"
    assert len(store.seen) == 2


def test_an_object_has_the_same_limits(store: Server) -> None:
    assert refusal("s3://bucket/folder/a%20b.pdf", Fetching(buckets=("bucket",), max_bytes=10)) == "fetch-too-large"
    assert refusal("s3://bucket/drip", Fetching(buckets=("bucket",), timeout_s=0.3)) == "fetch-timeout"


@pytest.mark.parametrize(("status", "reason"), [(404, "fetch-not-found"), (403, "fetch-refused"), (401, "fetch-refused")])
def test_an_object_that_cannot_be_fetched_has_a_reason(store: Server, status: int, reason: str) -> None:
    assert refusal(f"s3://bucket/{status}", Fetching(buckets=("bucket",))) == reason


def test_a_store_that_is_down_is_unavailable(store: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable):
        fetch("s3://bucket/503", Fetching(buckets=("bucket",)), None)
    monkeypatch.setenv("AWS_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(Unavailable):
        fetch("s3://bucket/a", Fetching(buckets=("bucket",)), None)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "obstore", None)
    assert refusal("s3://bucket/a", Fetching(buckets=("bucket",))) == "fetch-extra-missing"


def test_no_message_quotes_the_uri(site: Server, root: Path) -> None:
    fetching = allowing(site, roots=(root,), buckets=("bucket",), timeout_s=0.2)
    places = [
        f"file:///{SECRET}",
        f"{root.as_uri()}/{SECRET}",
        f"http://{SECRET}/",
        f"http://{site.host}/{SECRET}",
        f"http://{site.host}/status/500?{SECRET}",
        f"http://{site.host}/drip/{SECRET}",
        f"http://{site.host}/to?http://{SECRET}/",
        f"s3://{SECRET}/a",
        f"x://{SECRET}",
    ]
    for place in places:
        with pytest.raises(HeadraceError) as caught:
            fetch(place, fetching, None)
        assert SECRET not in str(caught.value)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
