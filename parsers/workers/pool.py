"""The worker processes: as many as configured, started when first needed, replaced when they die, gone at close."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from queue import LifoQueue
from threading import Lock, Thread
from types import TracebackType

from core.config import Parsing
from core.errors import ConfigurationError, Unavailable
from core.policy import Reading
from parsers.detection import is_pdf
from parsers.docling.weights import REMEDY, identity
from parsers.reasons import ParseError
from parsers.workers.process import WorkerProcess
from parsers.workers.wire import Request

DEFAULTS = Reading()
_CLOSED = "the parser pool is closed"
_FIRST = Request(b"# First", "text/markdown", "")
"""Loads what most documents need."""


class WorkerPool:
    """At most `parsing.workers` processes, each reading one document at a time within `parsing`'s bounds. Thread-safe.

    A process is started by the first document that finds none idle, stays warm, and is replaced after a timeout, a crash or a lack
    of memory: that costs the document it was reading, never another. Use as a context manager, or call `close`.
    """

    def __init__(self, parsing: Parsing, *, models: bool = False) -> None:
        self.parsing = parsing
        self._models = models
        self._modelled: tuple[str, WorkerPool] | None = None
        self._choosing = Lock()
        self._lock = Lock()
        self._closed = False
        self._running: set[WorkerProcess] = set()
        self._scratch: Path | None = None
        self._fresh: WorkerProcess | None = None
        self._renewing = False
        self._renewer: Thread | None = None
        # last in, first out: the warmest process next, and none is started while one is idle
        self._slots: LifoQueue[WorkerProcess | None] = LifoQueue()
        for _ in range(parsing.workers):
            self._slots.put(None)

    def parse(self, content: bytes, media_type: str, file_name: str, reading: Reading = DEFAULTS) -> bytes:
        """The document's `core.records.Content` as JSON; waits for a free process, which `parsing.timeout_s` does not count.

        Raises DocumentError with a reason of `parsers.REASONS`, or Unavailable when the pool is closed, no process starts, or the models
        that are to read a PDF are gone or cannot be loaded: they could be when the stage was built.
        """
        if len(content) > self.parsing.max_bytes:
            raise ParseError("document-too-large")
        if reading.pdf == "model" and not self._models and is_pdf(content, media_type, file_name):
            return self._read_by_models(content, media_type, file_name, reading)
        worker = self._slots.get()
        try:
            worker = self._ready(worker)
            return worker.parse(Request(content, media_type, file_name, reading.pdf))
        except ParseError:
            self._refuse_if_closed()
            raise
        finally:
            self._give_back(worker)

    def warm(self, reading: Reading = DEFAULTS) -> None:
        """Start a process of the kind that reads so, and load what most documents need.

        Raises ConfigurationError where docling's models are wished for and cannot be had, and Unavailable when no process starts.
        """
        pool = self._with_models() if reading.pdf == "model" else self
        try:
            pool.parse(_FIRST.content, _FIRST.media_type, _FIRST.file_name)
        except ParseError as error:
            if error.reason != "missing-models":
                raise
            raise self._unloadable(error) from None

    def close(self) -> None:
        """Kill every process and delete the scratch folder. A parse in flight raises Unavailable. Safe to repeat."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        with self._choosing:
            if self._modelled:
                self._modelled[1].close()
        with self._lock:
            running, self._running = self._running, set()
            scratch, self._scratch = self._scratch, None
        for worker in running:
            worker.kill()
        self._await_callers()
        if self._renewer:
            self._renewer.join()
        for worker in running:
            worker.close()
        if scratch:
            shutil.rmtree(scratch, ignore_errors=True)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the workers, those that are starting included."""
        with self._lock:
            own = tuple(worker.pid for worker in self._running)
        modelled = self._modelled
        return own + (modelled[1].pids if modelled else ())

    def _read_by_models(self, content: bytes, media_type: str, file_name: str, reading: Reading) -> bytes:
        """Models that are gone, or that no process can load any more, are no document's fault."""
        try:
            return self._with_models().parse(content, media_type, file_name, reading)
        except ConfigurationError as error:
            raise Unavailable(error.detail, remedy=error.remedy) from None
        except ParseError as error:
            if error.reason != "missing-models":
                raise
            refusal = self._unloadable(error)
            raise Unavailable(refusal.detail, remedy=refusal.remedy) from None

    def _unloadable(self, error: ParseError) -> ConfigurationError:
        given = f"parsing.models_dir was: {str(self.parsing.models)!r}, parsing.memory_mb: {self.parsing.memory_mb}"
        return ConfigurationError(f"docling's models cannot be loaded ({error.cause}); {given}", remedy=REMEDY)

    def _with_models(self) -> WorkerPool:
        """The pool whose processes hold docling's models as they are on disk now; as many again as are configured."""
        now = identity(self.parsing.models)
        with self._choosing:
            self._refuse_if_closed()
            if self._modelled and self._modelled[0] != now:
                self._modelled[1].close()
                self._modelled = None
            if self._modelled is None:
                self._modelled = now, WorkerPool(self.parsing, models=True)
            return self._modelled[1]

    def _give_back(self, worker: WorkerProcess | None) -> None:
        self._slots.put(self._succeeded(worker) if worker and worker.worn else worker)

    def _succeeded(self, worn: WorkerProcess) -> WorkerProcess:
        """Its successor once there is one. One at a time starts and loads beside the others, and until then the worn one goes on."""
        with self._lock:
            fresh, self._fresh = self._fresh, None
            renews = not (fresh or self._renewing or self._closed)
            self._renewing |= renews
            if fresh:
                self._running.discard(worn)
            if renews:
                self._renewer = Thread(target=self._renew, name="parse-renew", daemon=True)
                self._renewer.start()
        if fresh is None:
            return worn
        worn.close()
        return fresh

    def _renew(self) -> None:
        fresh: WorkerProcess | None = None
        try:
            with suppress(Unavailable, ParseError):  # where none comes up, a worn one that goes on is better than none
                fresh = self._started()
                fresh.parse(_FIRST)
        finally:
            with self._lock:
                self._fresh, self._renewing = fresh, False

    def _ready(self, worker: WorkerProcess | None) -> WorkerProcess:
        if worker and worker.usable:
            return worker
        if worker:
            with self._lock:
                self._running.discard(worker)
            worker.close()
        return self._started()

    def _started(self) -> WorkerProcess:
        with self._lock:
            self._raise_if_closed()
            folder = self._folder()
        fresh = WorkerProcess(self.parsing, folder, models=self._models)
        with self._lock:  # `close` kills what is known to it, and may have come before this one was
            late = self._closed
            if not late:
                self._running.add(fresh)
        if late:
            fresh.close()
            raise Unavailable(_CLOSED)
        self._await(fresh)
        return fresh

    def _await(self, fresh: WorkerProcess) -> None:
        try:
            fresh.await_ready()
        except BaseException:
            with self._lock:
                self._running.discard(fresh)
            raise

    def _folder(self) -> Path:
        if self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="headrace-parse-"))
        return self._scratch

    def _await_callers(self) -> None:
        """Every slot is back: nobody holds a process any more. They go in again for whoever still comes, to be refused."""
        for slot in [self._slots.get() for _ in range(self.parsing.workers)]:
            del slot
            self._slots.put(None)

    def _refuse_if_closed(self) -> None:
        """A process that `close` killed says nothing about its document."""
        with self._lock:
            self._raise_if_closed()

    def _raise_if_closed(self) -> None:
        if self._closed:
            raise Unavailable(_CLOSED)
