"""Hostile files in the confined parser workers: each is parsed or fails with a reason, and nothing escapes the confinement.

Every file of `hostile` is parsed in a pool of one worker, followed by a healthy document. The goals are 30 s and 1,536 MB; the pool's
limits are lower. Formats are detected from content and file name. The worker is watched from outside (fanotify, its descriptors): it may
open Python's files, libraries and descriptions of the machine; any other file, and any socket, counts as escaped.

Keys:
  files, parsed, dead_lettered
  reasons          dead letters by reason
  hung             files that ended in a timeout, so that the worker was killed (goal: 0)
  crashed_parent   errors without a reason code (goal: 0)
  escaped          unexpected files opened, and sockets (goal: 0)
  unhealthy        healthy documents that were not parsed (goal: 0)
  max_rss_mb       peak resident memory of a worker (goal: at most 1,536)
  max_seconds      longest time of a file (goal: at most 30)
  slowest          the slowest files, in seconds
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections import Counter
from pathlib import Path
from threading import Event, Thread
from time import perf_counter
from typing import Any

import psutil

from benchmarks._harness import need, note, run
from benchmarks._watch import Watch
from core.config import Parsing
from core.errors import DocumentError
from parsers import WorkerPool
from parsers.workers.confinement import readable

BOUNDS = Parsing(workers=1, timeout_s=25.0, longest_s=25.0, memory_mb=1024)
HEALTHY = b"# Healthy\n\nThis one is read every time."
HUNG = "parse-timeout"


def measure(data: Path) -> dict[str, Any]:
    folder = need(data / "hostile")
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "README.txt")
    with WorkerPool(BOUNDS) as pool:
        pool.parse(HEALTHY, "text/markdown", "healthy.md")
        with Watch(lambda: pool.pids, _expected) as watch, _Memory(pool) as memory:
            attempts = [_Attempt(pool, path) for path in files]
    reasons = Counter(one.reason for one in attempts if one.reason)
    for path in sorted(watch.opened):
        note(f"opened: {path}")
    slowest = sorted(attempts, key=lambda one: -one.seconds)[:5]
    return {
        "files": len(attempts),
        "parsed": sum(one.reason is None and not one.crashed for one in attempts),
        "dead_lettered": sum(reasons.values()),
        "reasons": dict(sorted(reasons.items())),
        "hung": reasons[HUNG],
        "crashed_parent": sum(one.crashed for one in attempts),
        "escaped": len(watch.opened) + watch.sockets,
        "unhealthy": sum(not one.healthy_after for one in attempts),
        "max_rss_mb": memory.peak_mb,
        "max_seconds": slowest[0].seconds,
        "slowest": {one.name: one.seconds for one in slowest},
    }


class _Attempt:
    """The outcome of one file, its duration, and whether the worker parsed a healthy document afterwards."""

    def __init__(self, pool: WorkerPool, path: Path) -> None:
        self.name = path.name
        self.reason: str | None = None
        self.crashed = False
        began = perf_counter()
        try:
            pool.parse(path.read_bytes(), "", path.name)
        except DocumentError as error:
            self.reason = error.reason
        except Exception as error:  # noqa: BLE001 - any other error is what this counts
            note(f"{path.name}: {type(error).__name__}")
            self.crashed = True
        self.seconds = perf_counter() - began
        self.healthy_after = _is_read(pool)


def _is_read(pool: WorkerPool) -> bool:
    try:
        return b"This one is read every time." in pool.parse(HEALTHY, "text/markdown", "healthy.md")
    except DocumentError:
        return False


class _Memory:
    """Samples the workers' peak resident memory."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool, self._ended = pool, Event()
        self._thread = Thread(target=self._sample, daemon=True)
        self.peak_mb = 0.0

    def __enter__(self) -> _Memory:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(0.005):
            for pid in self._pool.pids:
                self.peak_mb = max(self.peak_mb, _resident_mb(pid))


def _resident_mb(pid: int) -> float:
    try:
        return float(psutil.Process(pid).memory_info().rss) / 1e6
    except psutil.NoSuchProcess:
        return 0.0


_STARTUP_FILES = ("/etc/ld.so.cache", "/etc/locale.alias", "/etc/ssl/openssl.cnf", "/etc/localtime")
"""Files that every Python process opens when it starts, before it is confined."""


def _expected(path: Path) -> bool:
    return str(path) in _STARTUP_FILES or any(path.is_relative_to(place) for place in _READABLE)


_READABLE = [path.resolve() for path in readable() if not path.is_relative_to("/proc")]


def _options(_: ArgumentParser) -> None: ...


if __name__ == "__main__":
    run(measure, __doc__, _options)
