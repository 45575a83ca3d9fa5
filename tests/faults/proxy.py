"""A TCP line between a client and a server of the tests: it passes what it is given, until it is frozen or cut."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from threading import Event, Lock, Thread

_RESET = struct.pack("ii", 1, 0)
_CONNECT_S = 5.0


class Proxy:
    """Listens on loopback, on `port`, for the server at `target` there. Close it, or use it as a context manager.

    `freeze` holds back every byte, both ways, of lines that are there and of new ones, and closes none; `thaw` lets them go on.
    `cut` resets every line and each new one, until `mend`.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self._flows = Event()
        self._flows.set()
        self._whole = True
        self._lines: set[socket.socket] = set()
        self._lock = Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def lines(self) -> int:
        """How many connections there are."""
        return len(self._lines) // 2

    def freeze(self) -> None:
        self._flows.clear()

    def thaw(self) -> None:
        self._flows.set()

    def cut(self) -> None:
        self._whole = False
        with self._lock:
            for line in self._lines:
                _reset(line)

    def mend(self) -> None:
        self._whole = True

    def close(self) -> None:
        # a thread that waits in `accept` keeps the socket: this wakes it
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self.thaw()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                if self._whole:
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
        for line in pair:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._lines.update(pair)
        back = Thread(target=self._pump, args=(server, client), daemon=True)
        back.start()
        self._pump(client, server)
        back.join()
        with self._lock:
            self._lines.difference_update(pair)
        for line in pair:
            line.close()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        """Pass on until either end is done; then the other is told."""
        with suppress(OSError):
            while data := source.recv(65536):
                self._flows.wait()
                sink.sendall(data)
        for line in (source, sink):
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)


def _reset(line: socket.socket) -> None:
    with suppress(OSError):
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        line.shutdown(socket.SHUT_RDWR)
