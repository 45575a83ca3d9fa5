"""Watch what processes open, from outside: files by fanotify, sockets by their descriptors. Requires Linux and root.

fanotify(7) reports every file opened on a filesystem, with the process id; refused attempts are not reported.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
from collections.abc import Callable, Collection
from pathlib import Path
from threading import Event, Thread

from benchmarks._harness import Unmeasured

_CLASS_NOTIFY, _CLOEXEC = 0x0, 0x1
_ADD, _FILESYSTEM, _MOUNT = 0x1, 0x100, 0x10
_OPEN, _OPEN_EXEC = 0x20, 0x1000
_AT_CWD = -100
_EVENT = struct.Struct("=IBBHQii")
_POLL_INTERVAL_S = 0.002


class Watch:
    """A context manager. `opened`: files that the processes opened and `expected` rejects; `sockets`: number of open sockets observed."""

    def __init__(self, pids: Callable[[], Collection[int]], expected: Callable[[Path], bool]) -> None:
        self._pids, self._expected = pids, expected
        self._ended = Event()
        self._queue = _queue()
        self._threads = [Thread(target=work, daemon=True) for work in (self._read_events, self._count_sockets)]
        self.opened: set[Path] = set()
        self.sockets = 0

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        os.close(self._queue)

    def _read_events(self) -> None:
        while not self._ended.is_set():
            if select.select([self._queue], [], [], 0.1)[0]:
                self._record(os.read(self._queue, 1 << 16))

    def _record(self, events: bytes) -> None:
        while events:
            length, _, _, _, _, file, pid = _EVENT.unpack_from(events)
            path = Path(f"/proc/self/fd/{file}").readlink()
            os.close(file)
            if pid in self._pids() and not self._expected(path):
                self.opened.add(path)
            events = events[length:]

    def _count_sockets(self) -> None:
        while not self._ended.wait(_POLL_INTERVAL_S):
            self.sockets += sum(_sockets(pid) for pid in self._pids())


def _sockets(pid: int) -> int:
    try:
        return sum(entry.readlink().name.startswith("socket:") for entry in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return 0


def _queue() -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    queue = int(libc.fanotify_init(_CLASS_NOTIFY | _CLOEXEC, os.O_RDONLY | os.O_CLOEXEC))
    if queue < 0:
        raise Unmeasured("fanotify is refused: watching workers requires root on Linux")
    libc.fanotify_mark.argtypes = [ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p]
    for scope, path in ((_FILESYSTEM, b"/"), (_MOUNT, b"/tmp")):
        if libc.fanotify_mark(queue, _ADD | scope, _OPEN | _OPEN_EXEC, _AT_CWD, path) < 0:
            raise Unmeasured(f"fanotify cannot watch {path.decode()}")
    return queue
