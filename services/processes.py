"""Server processes: starting one that outlives us, knowing ours again, stopping it. No server's name is known here.

A pid alone is never trusted, for pids are used again: a process is ours only if its command line carries our marker
(an argument that names this data folder) and it started when we say it did.
"""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from signal import Signals

import psutil

from services.files import write_whole

# the kernel's boot time, from which a start time is computed, moves when the clock is set
_CLOCK_SLACK_S = 5.0
# below the range from which the kernel gives ports to outgoing connections, so that none takes a stopped server's port
_PORTS = range(15_000, 32_000)
_CONNECT_S = 0.1
_LINGER_S = 3.0


@dataclass(frozen=True)
class State:
    """What we know of a server between two commands. `port` outlives the process; `created` is in seconds since the epoch."""

    port: int
    pid: int | None = None
    created: float | None = None


def read_state(path: Path) -> State | None:
    """The last state written; None where there is none or it cannot be read as one (then the process is looked for)."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return State(port=int(raw["port"]), pid=raw["pid"] and int(raw["pid"]), created=raw["created"] and float(raw["created"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_state(path: Path, state: State) -> None:
    write_whole(path, json.dumps(asdict(state)) + "\n")


def ours(state: State | None, marker: str) -> psutil.Process | None:
    """The living process behind a state, if it is the one we started."""
    if state is None or state.pid is None or state.created is None:
        return None
    _reap(state.pid)
    try:
        process = psutil.Process(state.pid)
        known: bool = abs(process.create_time() - state.created) < _CLOCK_SLACK_S and _carries(process, marker)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    return process if known else None


def orphan(marker: str) -> psutil.Process | None:
    """A server of this data folder whose state was lost: the eldest process that carries the marker."""
    found = [process for process in psutil.process_iter() if _carries_safely(process, marker)]
    return min(found, key=lambda process: process.create_time(), default=None)


def adopt(state: State, process: psutil.Process) -> State:
    return replace(state, pid=process.pid, created=process.create_time())


def spawn(command: Sequence[str], *, cwd: Path, log: Path, environment: Mapping[str, str]) -> psutil.Process:
    """Start a server in a session of its own, so that it survives us and Ctrl-C. Both its outputs are appended to `log`."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            list(command),
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    process = psutil.Process(child.pid)
    # it is meant to outlive us: without a return code, Popen complains that it is dropped while the process lives
    child.returncode = 0
    return process


def alive(process: psutil.Process) -> bool:
    """Whether it runs; a zombie does not."""
    _reap(process.pid)
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def stop(process: psutil.Process, *, politely: Signals, patience_s: float) -> None:
    """The polite signal, and SIGKILL to it and its children once `patience_s` seconds are over. Does nothing to one that is gone."""
    try:
        children = process.children(recursive=True)
        process.send_signal(politely)
        process.wait(patience_s)
    except psutil.NoSuchProcess:
        return
    except psutil.TimeoutExpired:
        for each in (process, *children):
            _kill(each)
    _reap(process.pid)


def memory_bytes(process: psutil.Process) -> int:
    """Resident memory of the process and its children; pages that they share count once for each."""
    return sum(_resident(each) for each in _family(process))


def free_port(preferred: int = 0) -> int:
    """A loopback port that nobody listens on: `preferred` where that is one, or becomes one soon."""
    deadline = time.monotonic() + _LINGER_S
    # a killed server holds its port until the kernel is done with it
    while preferred and taken(preferred) and time.monotonic() < deadline:
        time.sleep(0.05)
    for port in _candidates(preferred):
        if not taken(port):
            return port
    raise OSError("no free loopback port")


def listening(port: int) -> bool:
    """Whether something on loopback accepts connections there."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_CONNECT_S):
            return True
    except OSError:
        return False


def taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _candidates(preferred: int) -> Iterator[int]:
    if preferred:
        yield preferred
    # the system's own: two processes whose `random` has the same seed, as two of the tests' have, must not take the same port
    yield from random.SystemRandom().sample(_PORTS, 100)


def _carries(process: psutil.Process, marker: str) -> bool:
    return process.status() != psutil.STATUS_ZOMBIE and marker in process.cmdline()


def _carries_safely(process: psutil.Process, marker: str) -> bool:
    try:
        return _carries(process, marker)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
        process.wait(10)
    except psutil.NoSuchProcess:
        return


def _reap(pid: int) -> None:
    """Let go of a dead child of ours, which else stays in the process list; nothing happens where it is neither."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
