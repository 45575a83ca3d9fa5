"""`http:` and `https:` uris: allowed hosts only, and public addresses only unless the operator allows a private host.

The name is resolved once and the connection goes to the checked address, so DNS rebinding gains nothing. The environment's proxies are
not used: they would connect to unchecked addresses.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from time import monotonic
from urllib.parse import SplitResult, urljoin, urlsplit

import httpcore
from httpcore import SOCKET_OPTION, NetworkStream, SyncBackend

from core.config import Fetching
from core.errors import DocumentError, Unavailable
from events.fetch.limits import joined, not_allowed, not_found, refused, timed_out, too_large, unavailable

_PORTS = {"http": 80, "https": 443}
_MAX_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MISSING = frozenset({404, 410})
_LATER = frozenset({408, 425, 429})
_UNICAST = ipaddress.ip_network("2000::/3")
_EMBEDDING = (ipaddress.ip_network("2002::/16"), ipaddress.ip_network("2001::/32"))  # 6to4, Teredo: they embed a v4 address


@dataclass(frozen=True)
class _Target:
    """A request's destination. `host` has no brackets; `path` includes the query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    def named_by(self, entries: Iterable[str], *, any_port: bool) -> bool:
        """Whether an entry is this `host:port`, or this `host` at its scheme's default port (with `any_port`, at any)."""
        at_port = f"{self.authority}:{self.port}"
        names = {at_port} | ({self.host, self.authority} if any_port or self.port == _PORTS[self.scheme] else set())
        return any(entry.lower() in names for entry in entries)


def fetch_http(parts: SplitResult, fetching: Fetching) -> bytes:
    """The body of a GET, following redirects to allowed hosts. Raises the errors of `events.fetch.content.fetch`."""
    until = monotonic() + fetching.timeout_s
    url = parts.geturl()
    for _ in range(_MAX_REDIRECTS + 1):
        target = _target(url, parts.scheme, fetching)
        body, location = _get(target, fetching, until)
        if body is not None:
            return body
        url = _redirected(url, location)
    raise refused(parts.scheme, f"more than {_MAX_REDIRECTS} redirects")


def _target(url: str, scheme: str, fetching: Fetching) -> _Target:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise not_allowed(scheme, "its host or port is malformed") from None
    if parts.scheme not in _PORTS or "@" in parts.netloc or not parts.hostname or not parts.hostname.isascii():
        raise not_allowed(scheme, "it names no plain host")
    if scheme == "https" and parts.scheme == "http":
        raise not_allowed(scheme, "it redirects to an unencrypted connection")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    target = _Target(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], path)
    if not target.named_by(fetching.hosts, any_port=False):
        raise not_allowed(scheme, "its host is not allowed")
    return target


def _redirected(url: str, location: bytes) -> str:
    scheme = urlsplit(url).scheme
    try:
        return urljoin(url, location.decode("ascii"))
    except ValueError:
        raise not_allowed(scheme, "it redirects to a malformed uri") from None


def _get(target: _Target, fetching: Fetching, until: float) -> tuple[bytes | None, bytes]:
    """The body, or None and the redirect's location."""
    network = _CheckedBackend(private=target.named_by(fetching.private_hosts, any_port=True), until=until)
    url = httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
    host = target.authority if target.port == _PORTS[target.scheme] else f"{target.authority}:{target.port}"
    headers: dict[str | bytes, str | bytes] = {"Host": host, "Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "headrace"}
    with (
        _translated(target.scheme, fetching.timeout_s),
        httpcore.ConnectionPool(ssl_context=_tls(), network_backend=network) as pool,
        pool.stream("GET", url, headers=headers) as response,
    ):
        received = {name.lower(): value for name, value in response.headers}
        if response.status in _REDIRECTS and b"location" in received:
            return None, received[b"location"]
        _check(target.scheme, response.status, received, fetching.max_bytes)
        return joined(target.scheme, response.iter_stream(), fetching.max_bytes), b""


def _check(scheme: str, status: int, headers: dict[bytes, bytes], max_bytes: int) -> None:
    if status in _MISSING:
        raise not_found(scheme)
    if status >= 500 or status in _LATER:
        raise unavailable(scheme, f"the host answers {status}")
    if status != 200:
        raise refused(scheme, f"the host answers {status}")
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise refused(scheme, "the host sends an encoding that was not requested")
    if int(headers.get(b"content-length", b"0")) > max_bytes:
        raise too_large(scheme, max_bytes)


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


@contextmanager
def _translated(scheme: str, timeout_s: float) -> Iterator[None]:
    """Raise our errors for the library's. Its messages may contain the host, so they are not passed on."""
    try:
        yield
    except (DocumentError, Unavailable):
        raise
    except httpcore.TimeoutException:
        raise timed_out(scheme, timeout_s) from None
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
        raise unavailable(scheme, f"no valid answer from the host ({type(error).__name__})") from None


class _CheckedBackend(httpcore.NetworkBackend):
    """Connects to checked addresses only. Every wait ends at `until`, so an answer that trickles in ends there too."""

    def __init__(self, *, private: bool, until: float) -> None:
        self._private = private
        self._until = until

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - `until` bounds the whole fetch
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> NetworkStream:
        failure: httpcore.ConnectError | None = None
        for address in self._addresses(host, port):
            try:
                stream = SyncBackend().connect_tcp(address, port, _remaining_s(self._until), local_address, socket_options)
            except httpcore.ConnectError as error:
                failure = error
            else:
                return _TimedStream(stream, self._until)
        raise failure or httpcore.ConnectError

    def _addresses(self, host: str, port: int) -> list[str]:
        found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        if not self._private and not all(map(public, found)):
            raise not_allowed("http", "its host has a non-public address")
        return list(dict.fromkeys(found))


class _TimedStream(httpcore.NetworkStream):
    """A stream on which every wait ends at `until`."""

    def __init__(self, stream: NetworkStream, until: float) -> None:
        self._stream = stream
        self._until = until

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self._stream.read(max_bytes, _remaining_s(self._until))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self._stream.write(buffer, _remaining_s(self._until))

    def close(self) -> None:
        self._stream.close()

    def start_tls(self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None) -> NetworkStream:  # noqa: ARG002
        return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, _remaining_s(self._until)), self._until)

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)


def _remaining_s(until: float) -> float:
    remaining = until - monotonic()
    if remaining <= 0:
        raise httpcore.ReadTimeout
    return remaining


def public(address: str) -> bool:
    """Whether this is a public unicast address; private, reserved and tunnelling ones are not."""
    found = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped:
            return public(str(found.ipv4_mapped))
        if found not in _UNICAST or any(found in network for network in _EMBEDDING):
            return False
    return found.is_global and not found.is_multicast and not found.is_reserved
