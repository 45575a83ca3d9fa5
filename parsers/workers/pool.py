"""The pool of worker processes: started on demand up to the configured number, replaced when they die, killed at close."""

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
_WARM_UP = Request(b"# First", "text/markdown", "")
"""Loads the libraries that most documents need."""


class WorkerPool:
    """At most `parsing.workers` processes, each parsing one document at a time within `parsing`'s limits. Thread-safe.

    A process is started when a document finds none idle, stays warm, and is replaced after a timeout, a crash or running out of memory:
    this fails the document that it was parsing, never another. Use as a context manager, or call `close`.
    """

    def __init__(self, parsing: Parsing, *, models: bool = False) -> None:
        self.parsing = parsing
        self._models = models
        self._model_pool: tuple[str, WorkerPool] | None = None
        self._model_pool_lock = Lock()
        self._lock = Lock()
        self._closed = False
        self._running: set[WorkerProcess] = set()
        self._scratch: Path | None = None
        self._fresh: WorkerProcess | None = None
        self._renewing = False
        self._renewer: Thread | None = None
        # last in, first out: prefer the warmest process, and start none while one is idle
        self._slots: LifoQueue[WorkerProcess | None] = LifoQueue()
        for _ in range(parsing.workers):
            self._slots.put(None)

    def parse(self, content: bytes, media_type: str, file_name: str, reading: Reading = DEFAULTS) -> bytes:
        """The document's `core.records.Content` as JSON. Waiting for a free process does not count towards `parsing.timeout_s`.

        Raises ParseError with a reason of `parsers.REASONS`, or Unavailable if the pool is closed, no process starts, or the models for
        reading a PDF have become unavailable since the stage was built.
        """
        if len(content) > self.parsing.max_bytes:
            raise ParseError("document-too-large")
        if reading.pdf == "model" and not self._models and is_pdf(content, media_type, file_name):
            return self._parse_with_models(content, media_type, file_name, reading)
        worker = self._slots.get()
        try:
            worker = self._usable(worker)
            return worker.parse(Request(content, media_type, file_name, reading.pdf))
        except ParseError:
            self._raise_if_closed()
            raise
        finally:
            self._release(worker)

    def warm(self, reading: Reading = DEFAULTS) -> None:
        """Start a process for this `reading`, and load the libraries that most documents need.

        Raises ConfigurationError if docling's models are required and unavailable, and Unavailable if no process starts.
        """
        pool = self._with_models() if reading.pdf == "model" else self
        try:
            pool.parse(_WARM_UP.content, _WARM_UP.media_type, _WARM_UP.file_name)
        except ParseError as error:
            if error.reason != "missing-models":
                raise
            raise self._unloadable(error) from None

    def close(self) -> None:
        """Kill every process and delete the scratch folder. A parse in flight raises Unavailable. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        with self._model_pool_lock:
            if self._model_pool:
                self._model_pool[1].close()
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
        """The process ids of the workers, including those that are starting."""
        with self._lock:
            own = tuple(worker.pid for worker in self._running)
        model_pool = self._model_pool
        return own + (model_pool[1].pids if model_pool else ())

    def _parse_with_models(self, content: bytes, media_type: str, file_name: str, reading: Reading) -> bytes:
        """Missing or broken models raise Unavailable: they are not the document's failure."""
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
        settings = f"parsing.models_dir was: {str(self.parsing.models)!r}, parsing.memory_mb: {self.parsing.memory_mb}"
        return ConfigurationError(f"docling's models cannot be loaded ({error.cause}); {settings}", remedy=REMEDY)

    def _with_models(self) -> WorkerPool:
        """The pool whose processes have loaded docling's models as they are on disk now; up to `parsing.workers` further processes."""
        current = identity(self.parsing.models)
        with self._model_pool_lock:
            self._raise_if_closed()
            if self._model_pool and self._model_pool[0] != current:
                self._model_pool[1].close()
                self._model_pool = None
            if self._model_pool is None:
                self._model_pool = current, WorkerPool(self.parsing, models=True)
            return self._model_pool[1]

    def _release(self, worker: WorkerProcess | None) -> None:
        self._slots.put(self._replacement(worker) if worker and worker.worn else worker)

    def _replacement(self, worn: WorkerProcess) -> WorkerProcess:
        """The replacement if one is ready, else the worn process itself. One replacement at a time starts in the background."""
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
            with suppress(Unavailable, ParseError):  # if none starts, a worn process is better than none
                fresh = self._start()
                fresh.parse(_WARM_UP)
        finally:
            with self._lock:
                self._fresh, self._renewing = fresh, False

    def _usable(self, worker: WorkerProcess | None) -> WorkerProcess:
        if worker and worker.usable:
            return worker
        if worker:
            with self._lock:
                self._running.discard(worker)
            worker.close()
        return self._start()

    def _start(self) -> WorkerProcess:
        with self._lock:
            self._raise_if_closed_locked()
            folder = self._scratch_folder()
        fresh = WorkerProcess(self.parsing, folder, models=self._models)
        with self._lock:  # `close` kills registered processes only, and may have run before this one was registered
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

    def _scratch_folder(self) -> Path:
        if self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="headrace-parse-"))
        return self._scratch

    def _await_callers(self) -> None:
        """Wait until every slot is back, so that no caller uses a process. Put them back for late callers, which are then refused."""
        for slot in [self._slots.get() for _ in range(self.parsing.workers)]:
            del slot
            self._slots.put(None)

    def _raise_if_closed(self) -> None:
        """After a failure too: a process that `close` killed says nothing about its document."""
        with self._lock:
            self._raise_if_closed_locked()

    def _raise_if_closed_locked(self) -> None:
        if self._closed:
            raise Unavailable(_CLOSED)
