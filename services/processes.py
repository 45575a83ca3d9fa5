"""Server processes: start one that outlives this process, identify it later, and stop it. Nothing here is specific to one server.

A pid alone does not identify a process, because the kernel reuses pids. A process is ours only if its command line contains our marker
(an argument that names this data folder) and its start time is the recorded one.
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

from services.files import write_atomic

# start times are computed from the kernel's boot time, which moves when the clock is set
_CLOCK_SLACK_S = 5.0
# below the kernel's ephemeral ports, so that no outgoing connection takes a stopped server's port
_PORTS = range(15_000, 32_000)
_CONNECT_S = 0.1
_LINGER_S = 3.0


@dataclass(frozen=True)
class State:
    """What is recorded about a server between two commands. `port` is kept when it stops; `created` is in seconds since the epoch."""

    port: int
    pid: int | None = None
    created: float | None = None


def read_state(path: Path) -> State | None:
    """Return the recorded state; None if it is missing or damaged (callers then search for the process, see `orphan`)."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return State(port=int(raw["port"]), pid=raw["pid"] and int(raw["pid"]), created=raw["created"] and float(raw["created"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_state(path: Path, state: State) -> None:
    write_atomic(path, json.dumps(asdict(state)) + "\n")


def identify(state: State | None, marker: str) -> psutil.Process | None:
    """Return the running process that a state describes, if it is the one we started."""
    if state is None or state.pid is None or state.created is None:
        return None
    _reap(state.pid)
    try:
        process = psutil.Process(state.pid)
        same: bool = abs(process.create_time() - state.created) < _CLOCK_SLACK_S and _has_marker(process, marker)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    return process if same else None


def orphan(marker: str) -> psutil.Process | None:
    """Return a server of this data folder whose state was lost: the oldest process with the marker."""
    found = [process for process in psutil.process_iter() if _visibly_has_marker(process, marker)]
    return min(found, key=lambda process: process.create_time(), default=None)


def adopt(state: State, process: psutil.Process) -> State:
    return replace(state, pid=process.pid, created=process.create_time())


def spawn(command: Sequence[str], *, cwd: Path, log: Path, environment: Mapping[str, str]) -> psutil.Process:
    """Start a server in a new session, so that it outlives this process and ignores its Ctrl-C. Appends its output to `log`."""
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
    # the child outlives us: without a return code, Popen would warn that it is deleted while the process runs
    child.returncode = 0
    return process


def alive(process: psutil.Process) -> bool:
    """Whether the process is running. A zombie is not."""
    _reap(process.pid)
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def stop(process: psutil.Process, *, stop_signal: Signals, timeout_s: float) -> None:
    """Send `stop_signal`; after `timeout_s` seconds, SIGKILL the process and its children. Does nothing if it has already exited."""
    try:
        children = process.children(recursive=True)
        process.send_signal(stop_signal)
        process.wait(timeout_s)
    except psutil.NoSuchProcess:
        return
    except psutil.TimeoutExpired:
        for each in (process, *children):
            _kill(each)
    _reap(process.pid)


def memory_bytes(process: psutil.Process) -> int:
    """The resident memory of the process and its children, in bytes. Pages that they share are counted once per process."""
    return sum(_resident(each) for each in _family(process))


def free_port(preferred: int = 0) -> int:
    """Return a free loopback port: `preferred` if it is free, or becomes free within seconds. Raises OSError if none is."""
    deadline = time.monotonic() + _LINGER_S
    # a killed server keeps its port until the kernel has cleaned up
    while preferred and taken(preferred) and time.monotonic() < deadline:
        time.sleep(0.05)
    for port in _candidates(preferred):
        if not taken(port):
            return port
    raise OSError("no free loopback port")


def listening(port: int) -> bool:
    """Whether a server accepts connections on this loopback port."""
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
    # SystemRandom, because processes with the same seed (the tests' workers) must not choose the same port
    yield from random.SystemRandom().sample(_PORTS, 100)


def _has_marker(process: psutil.Process, marker: str) -> bool:
    return process.status() != psutil.STATUS_ZOMBIE and marker in process.cmdline()


def _visibly_has_marker(process: psutil.Process, marker: str) -> bool:
    """The same, for any process of the machine: it may have exited, or belong to another user."""
    try:
        return _has_marker(process, marker)
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
    """Reap the process if it is our child and has exited; otherwise it would stay in the process list as a zombie."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
