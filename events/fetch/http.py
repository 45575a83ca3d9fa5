"""`http:` and `https:` uris: only to allowed hosts, only to public addresses unless the operator says otherwise, and within the limits.

The name is resolved once, and the connection goes to the very address that was checked, so that a name which resolves differently the
second time gains nothing. Proxies of the environment are not used: they would connect where nobody has checked.
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
from events.fetch.limits import gathered, not_allowed, not_found, refused, timed_out, too_large, unavailable

_PORTS = {"http": 80, "https": 443}
_MAX_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MISSING = frozenset({404, 410})
_LATER = frozenset({408, 425, 429})
_UNICAST = ipaddress.ip_network("2000::/3")
_EMBEDDING = (ipaddress.ip_network("2002::/16"), ipaddress.ip_network("2001::/32"))  # 6to4, Teredo: a v4 address inside


@dataclass(frozen=True)
class _Target:
    """Where a request goes. `host` has no brackets, `path` has the query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    def named_by(self, entries: Iterable[str], *, any_port: bool) -> bool:
        """Is it this `host` at its scheme's own port (or at any), or this `host:port`?"""
        at_port = f"{self.authority}:{self.port}"
        names = {at_port} | ({self.host, self.authority} if any_port or self.port == _PORTS[self.scheme] else set())
        return any(entry.lower() in names for entry in entries)


def fetch_http(parts: SplitResult, fetching: Fetching) -> bytes:
    """The body of a GET, redirects followed to allowed hosts. Raises as `events.fetch.content.fetch` says."""
    until = monotonic() + fetching.timeout_s
    url = parts.geturl()
    for _ in range(_MAX_REDIRECTS + 1):
        target = _target(url, parts.scheme, fetching)
        body, location = _get(target, fetching, until)
        if body is not None:
            return body
        url = _joined(url, location)
    raise refused(parts.scheme, f"more than {_MAX_REDIRECTS} redirects")


def _target(url: str, scheme: str, fetching: Fetching) -> _Target:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise not_allowed(scheme, "its host or port is malformed") from None
    if parts.scheme not in _PORTS or "@" in parts.netloc or not parts.hostname or not parts.hostname.isascii():
        raise not_allowed(scheme, "it does not go to a plain host")
    if scheme == "https" and parts.scheme == "http":
        raise not_allowed(scheme, "it redirects to a line that is not encrypted")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    target = _Target(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], path)
    if not target.named_by(fetching.hosts, any_port=False):
        raise not_allowed(scheme, "its host is not allowed")
    return target


def _joined(url: str, location: bytes) -> str:
    scheme = urlsplit(url).scheme
    try:
        return urljoin(url, location.decode("ascii"))
    except ValueError:
        raise not_allowed(scheme, "it redirects to something malformed") from None


def _get(target: _Target, fetching: Fetching, until: float) -> tuple[bytes | None, bytes]:
    """The body, or None and where it redirects to."""
    network = _Checked(private=target.named_by(fetching.private_hosts, any_port=True), until=until)
    url = httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
    host = target.authority if target.port == _PORTS[target.scheme] else f"{target.authority}:{target.port}"
    headers: dict[str | bytes, str | bytes] = {"Host": host, "Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "headrace"}
    with (
        _translated(target.scheme, fetching.timeout_s),
        httpcore.ConnectionPool(ssl_context=_tls(), network_backend=network) as pool,
        pool.stream("GET", url, headers=headers) as response,
    ):
        answered = {name.lower(): value for name, value in response.headers}
        if response.status in _REDIRECTS and b"location" in answered:
            return None, answered[b"location"]
        _check(target.scheme, response.status, answered, fetching.max_bytes)
        return gathered(target.scheme, response.iter_stream(), fetching.max_bytes), b""


def _check(scheme: str, status: int, headers: dict[bytes, bytes], max_bytes: int) -> None:
    if status in _MISSING:
        raise not_found(scheme)
    if status >= 500 or status in _LATER:
        raise unavailable(scheme, f"the host answers {status}")
    if status != 200:
        raise refused(scheme, f"the host answers {status}")
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise refused(scheme, "the host sends an encoding that was not asked for")
    if int(headers.get(b"content-length", b"0")) > max_bytes:
        raise too_large(scheme, max_bytes)


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


@contextmanager
def _translated(scheme: str, timeout_s: float) -> Iterator[None]:
    """The library's errors as ours. Its messages may hold the host, so they are not handed on."""
    try:
        yield
    except (DocumentError, Unavailable):
        raise
    except httpcore.TimeoutException:
        raise timed_out(scheme, timeout_s) from None
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
        raise unavailable(scheme, f"the host does not answer as it should ({type(error).__name__})") from None


class _Checked(httpcore.NetworkBackend):
    """Connects to checked addresses, and gives up at `until`: slow answers, byte by byte, end there too."""

    def __init__(self, *, private: bool, until: float) -> None:
        self._private = private
        self._until = until

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - ours is the whole fetch's
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> NetworkStream:
        failure: httpcore.ConnectError | None = None
        for address in self._addresses(host, port):
            try:
                stream = SyncBackend().connect_tcp(address, port, _left(self._until), local_address, socket_options)
            except httpcore.ConnectError as error:
                failure = error
            else:
                return _Hurried(stream, self._until)
        raise failure or httpcore.ConnectError

    def _addresses(self, host: str, port: int) -> list[str]:
        found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        if not self._private and not all(map(public, found)):
            raise not_allowed("http", "its host has an address that is not public")
        return list(dict.fromkeys(found))


class _Hurried(httpcore.NetworkStream):
    """A stream on which every wait ends at `until`."""

    def __init__(self, stream: NetworkStream, until: float) -> None:
        self._stream = stream
        self._until = until

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self._stream.read(max_bytes, _left(self._until))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self._stream.write(buffer, _left(self._until))

    def close(self) -> None:
        self._stream.close()

    def start_tls(self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None) -> NetworkStream:  # noqa: ARG002
        return _Hurried(self._stream.start_tls(ssl_context, server_hostname, _left(self._until)), self._until)

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)


def _left(until: float) -> float:
    left = until - monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout
    return left


def public(address: str) -> bool:
    """May anybody on the internet have this address? Everything else is somebody's inside."""
    found = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped:
            return public(str(found.ipv4_mapped))
        if found not in _UNICAST or any(found in network for network in _EMBEDDING):
            return False
    return found.is_global and not found.is_multicast and not found.is_reserved
