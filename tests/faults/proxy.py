"""A TCP proxy between a client and a server, which can pause or reset its connections."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from threading import Event, Lock, Thread

_RESET = struct.pack("ii", 1, 0)
_CONNECT_S = 5.0


class Proxy:
    """Forward connections from the loopback port `port` to the loopback port `target`. Close it, or use it as a context manager.

    `freeze` stops forwarding in both directions, on existing and new connections, without closing any; `thaw` continues.
    `cut` resets all connections and each new one until `mend`.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self._forwarding = Event()
        self._forwarding.set()
        self._accepting = True
        self._sockets: set[socket.socket] = set()
        self._lock = Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def freeze(self) -> None:
        self._forwarding.clear()

    def thaw(self) -> None:
        self._forwarding.set()

    def cut(self) -> None:
        self._accepting = False
        with self._lock:
            for sock in self._sockets:
                _reset(sock)

    def mend(self) -> None:
        self._accepting = True

    def close(self) -> None:
        # wake the thread that waits in `accept`, which keeps the socket open
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self.thaw()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                if self._accepting:
                    Thread(target=self._connect, args=(client,), daemon=True).start()
                else:
                    _reset(client)
                    client.close()

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self.target), _CONNECT_S)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        pair = (client, server)
        for sock in pair:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._sockets.update(pair)
        back = Thread(target=self._pump, args=(server, client), daemon=True)
        back.start()
        self._pump(client, server)
        back.join()
        with self._lock:
            self._sockets.difference_update(pair)
        for sock in pair:
            sock.close()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        """Forward until either side closes, then shut down both."""
        with suppress(OSError):
            while data := source.recv(65536):
                self._forwarding.wait()
                sink.sendall(data)
        for sock in (source, sink):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def _reset(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        sock.shutdown(socket.SHUT_RDWR)
