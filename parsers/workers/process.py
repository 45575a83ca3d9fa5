"""One worker process, seen from the pool: started, asked, killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from time import monotonic

import msgspec

from core.config import Parsing
from core.errors import Unavailable
from parsers.reasons import REASONS, ParseError
from parsers.workers import wire

_START_S = 60.0
_LOAD_S = 120.0
# torch, transformers and 400 MB of weights, from a disk that may be cold
_MODELS_START_S = 180.0
# leaks, and whatever one document may leave behind for the next, end with the process
_DOCUMENTS_PER_PROCESS = 500

_ENVIRONMENT: Mapping[str, str] = {
    "PATH": os.defpath,
    "LANG": "C.UTF-8",
    "HF_HUB_OFFLINE": "1",
    "PYTHONUTF8": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONWARNINGS": "ignore",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
}


class WorkerProcess:
    """A running worker. Not thread-safe, but for `kill`: the pool lends it to one caller at a time."""

    def __init__(self, parsing: Parsing, scratch: Path, *, models: bool = False) -> None:
        """Start it; `scratch` is its home and working folder; with docling's models where they are wanted. Then `await_ready`.

        Raises Unavailable when it cannot be started.
        """
        self._parsing = parsing
        self._documents = 0
        self._patience_s = _MODELS_START_S if models else _START_S
        try:
            self._process = _start(parsing, scratch, models=models)
        except OSError as error:
            raise Unavailable("a parser's worker process cannot be started") from error

    @property
    def pid(self) -> int:
        """The process id, for whoever watches memory."""
        return self._process.pid

    @property
    def usable(self) -> bool:
        """Whether it may take another document."""
        return self._process.poll() is None

    @property
    def worn(self) -> bool:
        """Whether it has read as many documents as one process should."""
        return self._documents >= _DOCUMENTS_PER_PROCESS

    def await_ready(self) -> None:
        """Until it takes documents. Raises, the process closed, Unavailable when it does not come up, `kill` included, and ParseError
        `missing-models` when the models cannot be loaded."""
        try:
            self._progress(monotonic() + self._patience_s, wire.Ready)
        except (EOFError, TimeoutError, msgspec.DecodeError, ValueError) as error:
            self.close()
            raise Unavailable("a parser's worker process does not come up") from error
        except ParseError:
            self.close()
            raise

    def parse(self, request: wire.Request) -> bytes:
        """The document's Content as JSON. Raises ParseError; whatever the reason, `usable` tells whether the process survived."""
        self._documents += 1
        try:
            return self._parse(request)
        except TimeoutError:
            self.kill()
            raise ParseError("parse-timeout") from None
        except (EOFError, BrokenPipeError):
            self.kill()
            raise ParseError(self._death()) from None
        except (msgspec.DecodeError, ValueError) as error:
            # a worker that says what no worker says has been taken over
            self.kill()
            raise ParseError("parse-crashed", type(error).__name__) from None

    def kill(self) -> None:
        """End the process and collect it. Safe to repeat, and from another thread."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Kill it and close the pipes."""
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()

    def _parse(self, request: wire.Request) -> bytes:
        deadline = monotonic() + self._parsing.timeout_s
        wire.send(_pipe(self._process.stdin), request, deadline)
        self._progress(deadline, wire.Detected)
        self._progress(monotonic() + _LOAD_S, wire.Loaded)
        return self._parsed()

    def _parsed(self) -> bytes:
        """Pages that take seconds each have the time of a document each, and all of them `longest_s`."""
        timeout_s, last = self._parsing.timeout_s, monotonic() + max(self._parsing.timeout_s, self._parsing.longest_s)
        while True:
            reply = self._progress(min(last, monotonic() + timeout_s), wire.PageRead, wire.Parsed)
            if isinstance(reply, wire.Parsed):
                return reply.payload
            if monotonic() >= last:
                raise TimeoutError

    def _progress(self, deadline: float, *expected: type[wire.Reply]) -> wire.Reply:
        reply = self._reply(deadline)
        if isinstance(reply, wire.Failed):
            raise self._failure(reply)
        if not isinstance(reply, expected):
            raise ValueError("replies out of order")  # noqa: TRY004  # as any other reply that no worker gives
        return reply

    def _reply(self, deadline: float) -> wire.Reply:
        return wire.receive_reply(_pipe(self._process.stdout), self._parsing.memory_mb << 20, deadline)

    def _failure(self, reply: wire.Failed) -> ParseError:
        """Nothing that a worker says is shown but a reason of the table and an identifier."""
        if reply.reason not in REASONS or not (reply.cause.isidentifier() or not reply.cause) or len(reply.cause) > 80:
            raise ValueError("no reason of ours")
        if reply.reason == "parse-out-of-memory":
            self.kill()
        return ParseError(reply.reason, reply.cause)

    def _death(self) -> str:
        return "parse-timeout" if self._process.returncode == -signal.SIGXCPU else "parse-crashed"


def _start(parsing: Parsing, scratch: Path, *, models: bool) -> subprocess.Popen[bytes]:
    """stderr goes nowhere: libraries print document text to it. A session of its own keeps the terminal's Ctrl-C from it."""
    home = {"HOME": str(scratch), "TMPDIR": str(scratch), "PYTHONPATH": str(Path(__file__).parents[2])}
    folder = [str(parsing.models)] if models else []
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "parsers.workers.worker", str(parsing.memory_mb), str(parsing.timeout_s), *folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=scratch,
        env={**_ENVIRONMENT, **home},
        bufsize=0,
        start_new_session=True,
    )
    os.set_blocking(_pipe(process.stdin), False)
    return process


def _pipe(stream: object) -> int:
    fileno = getattr(stream, "fileno", None)
    assert fileno is not None
    return int(fileno())
