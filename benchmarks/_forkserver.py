"""Processes that run Headrace until they are killed, forked from a server process: `python -m benchmarks._forkserver`.

The server process has imported the heavy libraries and opened nothing. It reads one JSON line per process to fork from standard input, and
reports on standard output which processes are ready and which have ended. `ForkServer` controls it. A forked process opens its own
Headrace, so that no connection, thread or model is shared across the fork.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from pydantic import SecretStr

from core import crashpoints, timeouts
from core.config import Endpoints, Parsing, Settings
from core.errors import HeadraceError

if TYPE_CHECKING:
    from pipelines.app import Headrace
    from pipelines.stream.observer import Observer

STREAM: Final = "stream"
INGEST: Final = "ingest"
REINDEX: Final = "reindex"
_TIMEOUT_S = 180.0
STOPPED_S = 5
"""How long Postgres keeps the idle transaction of a process that stops itself; the default would make a test wait a minute."""
_IMPORTS = (
    "pipelines.stream.engine",
    "pipelines.outbox",
    "pipelines.stages.registry",
    "pipelines.operations.reindex",
    "embedders.stage",
    "pipelines.operations.stage_counts",
    "chunkers",
    "events.landing",
    "events.outcomes",
    "graph",
    "index.embeddings",
    "index.generations",
    "index.swap",
    "parsers",
    "privacy",
    "presidio_analyzer",
    "neo4j",
    "openvino",
    "polars",
    "tokenizers",
)


class ProcessSpec(msgspec.Struct, frozen=True):
    """What a forked process does: stream every tenant, ingest one, or reindex one, there and back, again and again.

    `point`: the crash point at which it kills itself, at the `nth` time; with `stops`, it sends itself SIGSTOP instead. `ports` reroutes
    connections (to proxies): a server's port → the port to use.
    """

    kind: Literal["stream", "ingest", "reindex"] = STREAM
    tenant: str = ""
    point: str | None = None
    nth: int = 1
    stops: bool = False
    ports: dict[int, int] = {}


@dataclass
class ForkedProcess:
    """A forked process. `ended_by` is the signal that ended it, `code` its exit code if none did; both are None while it runs.

    `ready`: its Headrace is open.
    """

    pid: int
    spec: ProcessSpec
    ready: bool = False
    ended_by: int | None = None
    code: int | None = None
    killed_from_outside: bool = False

    @property
    def alive(self) -> bool:
        return self.ended_by is None and self.code is None

    def kill(self) -> None:
        """Send SIGKILL."""
        self.killed_from_outside = True
        self._send(signal.SIGKILL)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._send(signal.SIGTERM)

    def _send(self, which: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, which)


@dataclass
class ForkServer:
    """The process that forks. Use it as a context manager; at exit it kills the processes that are left. `log` gets their output.

    Its imports take seconds. Callers with something else to do need not `wait` before the first fork.
    """

    data_dir: Path
    log: Path
    processes: dict[int, ForkedProcess] = field(default_factory=dict)

    def __enter__(self) -> ForkServer:
        command = [sys.executable, "-m", "benchmarks._forkserver", str(self.data_dir)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        self._buffer = b""
        return self

    def __exit__(self, *exc: object) -> None:
        for process in self.processes.values():
            process.kill()
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(_TIMEOUT_S)
        self._process.stdout.close()

    def wait(self) -> None:
        """Wait until its imports are done."""
        self._wait_for("up")

    def fork(self, spec: ProcessSpec) -> ForkedProcess:
        """Fork a process. It takes a moment until it is `ready`."""
        assert self._process.stdin
        self._process.stdin.write(msgspec.json.encode(spec) + b"\n")
        self._process.stdin.flush()
        process = ForkedProcess(int(self._wait_for("forked")["forked"]), spec)
        self.processes[process.pid] = process
        return process

    def poll(self, timeout_s: float) -> None:
        """Record which processes are ready and which have ended, waiting up to `timeout_s` for the first message."""
        for _ in self._messages(timeout_s):
            pass

    def _wait_for(self, key: str) -> dict[str, Any]:
        while True:
            for message in self._messages(_TIMEOUT_S):
                if key in message:
                    return message
            if self._process.poll() is not None:
                raise RuntimeError(f"the fork server has exited; see {self.log}")

    def _messages(self, timeout_s: float) -> Iterator[dict[str, Any]]:
        assert self._process.stdout
        if select.select([self._process.stdout], [], [], timeout_s)[0]:
            self._buffer += os.read(self._process.stdout.fileno(), 65536)
        while b"\n" in self._buffer:
            line, _, self._buffer = self._buffer.partition(b"\n")
            message = json.loads(line)
            self._record(message)
            yield message

    def _record(self, message: dict[str, Any]) -> None:
        if process := self.processes.get(message.get("ready", 0)):
            process.ready = True
        if process := self.processes.pop(message.get("ended", 0), None):
            process.ended_by, process.code = message["signal"], message["code"]


def main(data_dir: str) -> None:
    """Run the fork server until standard input ends. It is single-threaded: only forked processes start threads."""
    import importlib

    for name in _IMPORTS:
        importlib.import_module(name)
    _send(up=os.getpid())
    settings = Settings(data_dir=Path(data_dir), parsing=Parsing(workers=1))
    buffer = b""
    while True:
        if select.select([0], [], [], 0.02)[0]:
            read = os.read(0, 65536)
            if not read:
                return
            buffer += read
        while b"\n" in buffer:
            line, _, buffer = buffer.partition(b"\n")
            _fork(settings, msgspec.json.decode(line, type=ProcessSpec))
        _reap()


def _fork(settings: Settings, spec: ProcessSpec) -> None:
    pid = os.fork()
    if pid:
        _send(forked=pid)
        return
    code = 70
    try:
        _run(settings, spec)
        code = 0
    except BaseException:  # noqa: BLE001 - the child must exit, with this code, and never return to the server's loop
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def _run(settings: Settings, spec: ProcessSpec) -> None:
    """Run a forked process. It returns only after SIGTERM."""
    import services
    from pipelines.app import Headrace
    from pipelines.stream import engine

    if spec.stops:
        timeouts.IDLE_S = STOPPED_S
    if spec.point:
        crashpoints.arm(spec.point, spec.nth, signal.SIGSTOP if spec.stops else signal.SIGKILL)

    class Cold(Headrace):
        def warm(self) -> None:
            """Load models lazily: the process is short-lived, and none of its documents needs docling."""

    with Cold(settings, rerouted(services.endpoints(settings), spec.ports)) as headrace:
        _send(ready=os.getpid())
        while spec.kind == INGEST:
            headrace.ingest(spec.tenant)
            sleep(0.05)
        while spec.kind == REINDEX:
            _reindex(headrace, spec.tenant)
            sleep(0.05)
        engine.run(headrace, observer=_logging_observer())


def _reindex(headrace: Headrace, tenant: str) -> None:
    """Go on with what another process began; else begin, or go back."""
    from pipelines.operations import reindex

    session = headrace.session(tenant)
    strategy = "recursive" if session.policy.chunking.strategy == "structure" else "structure"
    with suppress(HeadraceError):  # such as that the stages have not yet written what was switched to
        found = reindex.status(headrace, tenant)
        if found is None or found.state in ("refused", "ended"):
            reindex.request(headrace, tenant, chunker=strategy)
        elif found.state == "standby":
            # a generation that stands by is up to date within a moment; a new one is built from nothing
            reindex.rollback(headrace, tenant) if os.getpid() % 2 else reindex.request(headrace, tenant, chunker=strategy)
    with suppress(HeadraceError):
        reindex.advance(headrace, headrace.session(tenant))


def _logging_observer() -> Observer:
    """Return an observer that writes to the log."""
    from pipelines.stream.observer import Observer

    class LoggingObserver(Observer):
        def noted(self, event: dict[str, Any]) -> None:
            sys.stderr.write(json.dumps({"pid": os.getpid(), **event}) + "\n")
            sys.stderr.flush()

    return LoggingObserver()


def rerouted(endpoints: Endpoints, ports: Mapping[int, int]) -> Endpoints:
    """Return the same endpoints with other loopback ports. Kafka is not rerouted: its clients use the address the broker advertises."""
    changed: dict[str, Any] = {"neo4j_url": endpoints.neo4j_url}
    changed |= {name: getattr(endpoints, name) for name in ("postgres_owner", "postgres_pipeline", "postgres_reader")}
    for port, other in ports.items():
        for name, url in changed.items():
            old, new = f"127.0.0.1:{port}", f"127.0.0.1:{other}"
            changed[name] = url.replace(old, new) if isinstance(url, str) else SecretStr(url.get_secret_value().replace(old, new))
    return endpoints.model_copy(update=changed)


def _reap() -> None:
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            pid, status = ended
            killed = os.WIFSIGNALED(status)
            _send(ended=pid, signal=os.WTERMSIG(status) if killed else None, code=None if killed else os.WEXITSTATUS(status))


def _send(**message: Any) -> None:
    """Write one message as one line in one write, because the server and its processes share the pipe."""
    os.write(1, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1])
