"""One worker process as the pool sees it: start, parse, kill."""

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
# torch, transformers and 400 MB of weights, read with a cold page cache
_MODELS_START_S = 180.0
# a new process discards memory leaks and any state that one document leaves behind for the next
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
    """A running worker. Only `kill` is thread-safe: the pool lends the process to one caller at a time."""

    def __init__(self, parsing: Parsing, scratch: Path, *, models: bool = False) -> None:
        """Start the process, with docling's models if `models`; `scratch` is its home and working folder. Call `await_ready` next.

        Raises Unavailable if the process cannot be started.
        """
        self._parsing = parsing
        self._documents = 0
        self._start_timeout_s = _MODELS_START_S if models else _START_S
        try:
            self._process = _start(parsing, scratch, models=models)
        except OSError as error:
            raise Unavailable("a parser's worker process cannot be started") from error

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def usable(self) -> bool:
        """Whether the process is running and can parse another document."""
        return self._process.poll() is None

    @property
    def worn(self) -> bool:
        """Whether the process has parsed its maximum number of documents and should be replaced."""
        return self._documents >= _DOCUMENTS_PER_PROCESS

    def await_ready(self) -> None:
        """Wait until the process accepts documents.

        On failure the process is closed. Raises Unavailable if the process does not start or is killed, and ParseError `missing-models`
        if the models cannot be loaded.
        """
        try:
            self._expect(monotonic() + self._start_timeout_s, wire.Ready)
        except (EOFError, TimeoutError, msgspec.DecodeError, ValueError) as error:
            self.close()
            raise Unavailable("a parser's worker process does not start") from error
        except ParseError:
            self.close()
            raise

    def parse(self, request: wire.Request) -> bytes:
        """The document's Content as JSON. Raises ParseError; `usable` says whether the process survived."""
        self._documents += 1
        try:
            return self._parse(request)
        except TimeoutError:
            self.kill()
            raise ParseError("parse-timeout") from None
        except (EOFError, BrokenPipeError):
            self.kill()
            raise ParseError(self._exit_reason()) from None
        except (msgspec.DecodeError, ValueError) as error:
            # a reply outside the protocol means that the worker is compromised
            self.kill()
            raise ParseError("parse-crashed", type(error).__name__) from None

    def kill(self) -> None:
        """Kill the process and reap it. Idempotent and thread-safe."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Kill the process and close its pipes."""
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()

    def _parse(self, request: wire.Request) -> bytes:
        deadline = monotonic() + self._parsing.timeout_s
        wire.send(_pipe(self._process.stdin), request, deadline)
        self._expect(deadline, wire.Detected)
        self._expect(monotonic() + _LOAD_S, wire.Loaded)
        return self._await_parsed()

    def _await_parsed(self) -> bytes:
        """Wait for the result. Each reported page restarts the timeout `timeout_s`; `longest_s` bounds the total."""
        timeout_s, last = self._parsing.timeout_s, monotonic() + max(self._parsing.timeout_s, self._parsing.longest_s)
        while True:
            reply = self._expect(min(last, monotonic() + timeout_s), wire.PageRead, wire.Parsed)
            if isinstance(reply, wire.Parsed):
                return reply.payload
            if monotonic() >= last:
                raise TimeoutError

    def _expect(self, deadline: float, *expected: type[wire.Reply]) -> wire.Reply:
        reply = self._receive(deadline)
        if isinstance(reply, wire.Failed):
            raise self._failure(reply)
        if not isinstance(reply, expected):
            raise ValueError("replies out of order")  # noqa: TRY004  # handled like any other invalid reply
        return reply

    def _receive(self, deadline: float) -> wire.Reply:
        return wire.receive_reply(_pipe(self._process.stdout), self._parsing.memory_mb << 20, deadline)

    def _failure(self, reply: wire.Failed) -> ParseError:
        """Validate the reply: only a known reason and an identifier may leave the worker, so no document text can."""
        if reply.reason not in REASONS or not (reply.cause.isidentifier() or not reply.cause) or len(reply.cause) > 80:
            raise ValueError("unknown reason")
        if reply.reason == "parse-out-of-memory":
            self.kill()
        return ParseError(reply.reason, reply.cause)

    def _exit_reason(self) -> str:
        return "parse-timeout" if self._process.returncode == -signal.SIGXCPU else "parse-crashed"


def _start(parsing: Parsing, scratch: Path, *, models: bool) -> subprocess.Popen[bytes]:
    """stderr is discarded: libraries print document text to it. A new session shields the worker from the terminal's Ctrl-C."""
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
