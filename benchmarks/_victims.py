"""Processes to be killed, each forked from one that has imported the heavy libraries and opened nothing: `python -m benchmarks._victims`.

`Template` is that process as seen from outside: it takes one JSON line an order on its standard input and says on its standard output what
was started and what has ended. A victim makes its own Headrace, so that no connection, thread or model is older than the fork.
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

if TYPE_CHECKING:
    from pipelines.stream.observer import Listener

STREAM: Final = "stream"
INGEST: Final = "ingest"
_PATIENCE_S = 180.0
STOPPED_S = 5
"""How long Postgres keeps the transaction of one that stops, so that nobody has to wait a minute to see it."""
_IMPORTS = (
    "pipelines.stream.engine",
    "pipelines.outbox",
    "pipelines.stages.registry",
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


class Order(msgspec.Struct, frozen=True):
    """What a victim is to do: stream every tenant, or ingest one; and where it dies, or stops (SIGSTOP), by itself, if it does.

    `ports` leads to the servers another way (by proxies): a server's port → the one to use.
    """

    kind: Literal["stream", "ingest"] = STREAM
    tenant: str = ""
    point: str | None = None
    nth: int = 1
    stops: bool = False
    ports: dict[int, int] = {}


@dataclass
class Victim:
    """`ended_by` is the signal that ended it, `code` its exit code where it was none; both None while it lives. `ready`: it has begun."""

    pid: int
    order: Order
    ready: bool = False
    ended_by: int | None = None
    code: int | None = None
    killed_from_outside: bool = False

    @property
    def alive(self) -> bool:
        return self.ended_by is None and self.code is None

    def kill(self) -> None:
        """SIGKILL, now."""
        self.killed_from_outside = True
        self._send(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM."""
        self._send(signal.SIGTERM)

    def _send(self, which: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, which)


@dataclass
class Template:
    """The process that forks victims. Use it as a context manager: whoever is left is killed at the end. `log` takes what they write.

    Its imports take seconds; who can do something else meanwhile need not wait for them before the first fork.
    """

    data_dir: Path
    log: Path
    victims: dict[int, Victim] = field(default_factory=dict)

    def __enter__(self) -> Template:
        command = [sys.executable, "-m", "benchmarks._victims", str(self.data_dir)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        self._buffer = b""
        return self

    def __exit__(self, *exc: object) -> None:
        for victim in self.victims.values():
            victim.kill()
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(_PATIENCE_S)
        self._process.stdout.close()

    def wait(self) -> None:
        """Until it can fork at once."""
        self._until("up")

    def fork(self, order: Order) -> Victim:
        """A new victim; it takes a moment until it is `ready`."""
        assert self._process.stdin
        self._process.stdin.write(msgspec.json.encode(order) + b"\n")
        self._process.stdin.flush()
        victim = Victim(int(self._until("forked")["forked"]), order)
        self.victims[victim.pid] = victim
        return victim

    def hear(self, timeout_s: float) -> None:
        """Take note of who is ready and who has ended, waiting so long for the first news."""
        for _ in self._news(timeout_s):
            pass

    def _until(self, what: str) -> dict[str, Any]:
        while True:
            for said in self._news(_PATIENCE_S):
                if what in said:
                    return said
            if self._process.poll() is not None:
                raise RuntimeError(f"the template of the victims has ended; see {self.log}")

    def _news(self, timeout_s: float) -> Iterator[dict[str, Any]]:
        assert self._process.stdout
        if select.select([self._process.stdout], [], [], timeout_s)[0]:
            self._buffer += os.read(self._process.stdout.fileno(), 65536)
        while b"\n" in self._buffer:
            line, _, self._buffer = self._buffer.partition(b"\n")
            said = json.loads(line)
            self._note(said)
            yield said

    def _note(self, said: dict[str, Any]) -> None:
        if victim := self.victims.get(said.get("ready", 0)):
            victim.ready = True
        if victim := self.victims.pop(said.get("ended", 0), None):
            victim.ended_by, victim.code = said["signal"], said["code"]


def main(data_dir: str) -> None:
    """Be the template, until standard input ends. Single-threaded: what starts threads is the victims' own."""
    import importlib

    for name in _IMPORTS:
        importlib.import_module(name)
    _say(up=os.getpid())
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
            _fork(settings, msgspec.json.decode(line, type=Order))
        _reap()


def _fork(settings: Settings, order: Order) -> None:
    pid = os.fork()
    if pid:
        _say(forked=pid)
        return
    code = 70
    try:
        _be(settings, order)
        code = 0
    except BaseException:  # noqa: BLE001 - the child's end, told by its exit code; nothing of it may run the template's loop
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def _be(settings: Settings, order: Order) -> None:
    """A victim's life. It never comes back from `run`, unless it is told to end."""
    import services
    from pipelines.app import Headrace
    from pipelines.stream import engine

    if order.stops:
        timeouts.IDLE_S = STOPPED_S
    if order.point:
        crashpoints.arm(order.point, order.nth, signal.SIGSTOP if order.stops else signal.SIGKILL)

    class Cold(Headrace):
        def warm(self) -> None:
            """Each model when it is first needed: a victim's life is short, and none of its documents is one for docling."""

    with Cold(settings, rerouted(services.endpoints(settings), order.ports)) as headrace:
        _say(ready=os.getpid())
        while order.kind == INGEST:
            headrace.ingest(order.tenant)
            sleep(0.05)
        engine.run(headrace, listener=_noted())


def _noted() -> Listener:
    """What a stream says goes to the log."""
    from pipelines.stream.observer import Listener

    class Noted(Listener):
        def said(self, what: dict[str, Any]) -> None:
            sys.stderr.write(json.dumps({"pid": os.getpid(), **what}) + "\n")
            sys.stderr.flush()

    return Noted()


def rerouted(endpoints: Endpoints, ports: Mapping[int, int]) -> Endpoints:
    """The same servers by other ports of loopback. Kafka's clients go where the broker says it is, whatever they are given here."""
    changed: dict[str, Any] = {"neo4j_url": endpoints.neo4j_url}
    changed |= {name: getattr(endpoints, name) for name in ("postgres_owner", "postgres_pipeline", "postgres_reader")}
    for port, other in ports.items():
        for name, url in changed.items():
            was, now = f"127.0.0.1:{port}", f"127.0.0.1:{other}"
            changed[name] = url.replace(was, now) if isinstance(url, str) else SecretStr(url.get_secret_value().replace(was, now))
    return endpoints.model_copy(update=changed)


def _reap() -> None:
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            pid, status = ended
            killed = os.WIFSIGNALED(status)
            _say(ended=pid, signal=os.WTERMSIG(status) if killed else None, code=None if killed else os.WEXITSTATUS(status))


def _say(**what: Any) -> None:
    """One line in one write: victims and template share the pipe."""
    os.write(1, json.dumps(what).encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1])
