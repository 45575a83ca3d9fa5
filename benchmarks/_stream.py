"""Shared by the stream's benchmarks: a `headrace stream` process, publishing at a rate, and a reader that searches for what was published.

The reader does what a RAG application does: in another process than the stream, it calls `retrieval.search` with a reader's login. Its
question is embedded once, in advance. Every document has its own access list, so a search with that one principal returns only that
document's passages, whatever the question.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from threading import Thread
from time import perf_counter, sleep
from typing import IO

import numpy as np
import numpy.typing as npt

from benchmarks._harness import Unmeasured, note
from benchmarks._pages import page
from core.sql import statements
from core.tenancy import Database
from events.publish import Publisher
from pipelines.app import Headrace
from pipelines.operations.stage_counts import due
from retrieval.search import Passage, SearchRequest, search

TIMEOUT_S = 180.0
TOP = 8
"""More passages than any document of these benchmarks has."""

_QUESTION = "What does it say?"


class Stream:
    """A `headrace stream --json` process. The errors it reports are shown in the progress output."""

    def __init__(self, headrace: Headrace) -> None:
        folder = headrace.settings.data_dir
        config = folder / "stream.toml"
        config.write_text(f"data_dir = {json.dumps(str(folder))}\n", encoding="utf-8")
        self.log = folder / "stream.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [Path(sys.executable).with_name("headrace"), "stream", "--json"],
                env={**os.environ, "HEADRACE_CONFIG": str(config)},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._reporting = Thread(target=self._report_errors, args=[self.process.stdout], daemon=True)
        self._reporting.start()

    def check_running(self) -> None:
        """Raises Unmeasured if the process has exited."""
        if self.process.poll() is not None:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
            raise Unmeasured(f"the stream exited with {self.process.returncode}: {lines[-1] if lines else 'its log is empty'}")

    def stop(self) -> None:
        """Send SIGTERM, and SIGKILL if the process does not exit in time."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reporting.join()

    def _report_errors(self, lines: IO[str]) -> None:
        with lines:
            for line in lines:
                if json.loads(line).keys() & {"waits", "error"}:
                    note(f"the stream reports {line.strip()}")


@contextmanager
def streaming(headrace: Headrace, tenants: Sequence[str], bodies: Sequence[Sequence[str]]) -> Iterator[Stream]:
    """Run a stream and warm it up: publish the texts as one document each, to the tenants in turn, and wait until all are processed."""
    stream = Stream(headrace)
    try:
        with publishing(headrace, tenants) as publish:
            for turn, body in enumerate(bodies):
                publish(Event(tenants[turn % len(tenants)], f"warm-up-{turn}", 1, page(turn, body, "warm")))
                if turn == 0:  # one document alone, which loads what is loaded lazily
                    wait_until(lambda: processed(headrace, tenants, 1), stream, "the first document was processed")
        wait_until(lambda: processed(headrace, tenants, len(bodies)), stream, "the warm-up was processed")
        note(f"the stream is warm after {len(bodies)} documents")
        yield stream
    finally:
        stream.stop()


def wait_until(condition: Callable[[], bool], stream: Stream, description: str, timeout_s: float = TIMEOUT_S) -> None:
    """Wait for a condition. `description` names it. Raises Unmeasured on a timeout, or if the stream exits."""
    deadline = perf_counter() + timeout_s
    while not condition():
        stream.check_running()
        if perf_counter() > deadline:
            raise Unmeasured(f"it took longer than {timeout_s:.0f} s until {description}")
        sleep(0.2)


def processed(headrace: Headrace, tenants: Iterable[str], published: int) -> bool:
    """Whether `published` events of these tenants have landed, and every document has passed the last stage."""
    landed = sum(read_count(headrace, tenant, "landed") for tenant in tenants)
    return landed >= published and not any(due(headrace, tenant) for tenant in tenants)


def read_count(headrace: Headrace, tenant: str, name: str) -> int:
    """Return the count of one of the statements in stream.sql."""
    with headrace.session(tenant).transaction() as connection:
        return int(connection.execute(_SQL[name]).fetchall()[0]["number"])


@dataclass
class Event:
    """An event to publish. `text` None is a delete.

    `mark` is a word of this version's text, `old_mark` a word that only the previous version has. `latency_s` is the time from just before
    it was published until a search returned it, None until one has.
    """

    tenant: str
    name: str
    sequence: int
    text: str | None
    mark: str = ""
    old_mark: str | None = None
    published: float = 0.0
    latency_s: float | None = None

    @property
    def reader(self) -> str:
        return f"reader-of:{self.name}"

    def shown_by(self, passages: Sequence[Passage]) -> bool:
        """Whether a search returned this version and nothing of the previous one; after a delete, nothing at all."""
        text = " ".join(passage.text for passage in passages)
        if self.text is None:
            return not passages
        return self.mark in text and (self.old_mark is None or self.old_mark not in text)


@contextmanager
def publishing(headrace: Headrace, tenants: Iterable[str]) -> Iterator[Callable[[Event], None]]:
    """Return a function that publishes an event as its tenant's source system would, and records when."""
    publishers = {tenant: Publisher(headrace.endpoints.kafka_client(), tenant, "benchmark:stream") for tenant in tenants}

    def publish(event: Event) -> None:
        publisher = publishers[event.tenant]
        event.published = perf_counter()
        if event.text is None:
            publisher.delete(event.name, sequence=event.sequence)
        else:
            publisher.upsert(event.name, content=event.text, media_type="text/markdown", acl=[event.reader], sequence=event.sequence)

    yield publish
    for publisher in publishers.values():
        publisher.flush()


class Reader:
    """Search for the published events, oldest first: one search every `every_s` while one has not been found.

    An event is searched for only after all older ones were found. So a measured latency is never too short, and too long by at most the
    time between two searches plus one search. `took` has the seconds of each search.
    """

    def __init__(self, headrace: Headrace, every_s: float) -> None:
        embedder = headrace.models.embedder
        self.identity = embedder.identity
        self._vector = embedder.encode([_QUESTION], "query")
        self._database = Database(headrace.endpoints.postgres_reader.get_secret_value(), role="reader")
        self._every_s = every_s
        self._waiting: deque[Event] = deque()
        self.took: list[float] = []

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *exc: object) -> None:
        self._database.close()

    def encode(self, texts: Sequence[str], kind: str) -> npt.NDArray[np.float32]:  # noqa: ARG002
        """Return the question's vector, `(1, dim)` float32. It is computed in advance, so no model runs during the measurement."""
        return self._vector

    def expect(self, event: Event) -> None:
        self._waiting.append(event)

    def clear(self) -> None:
        """Stop searching for the events that have not been found."""
        self._waiting.clear()

    def search_for(self, seconds: float) -> None:
        """Search for expected events for this long."""
        deadline = perf_counter() + seconds
        while (remaining := deadline - perf_counter()) > 0:
            if self._waiting:
                self._find()
            sleep(max(0.0, min(self._every_s, remaining, deadline - perf_counter())))

    def find_all(self, timeout_s: float = TIMEOUT_S) -> None:
        """Search until every expected event is found. Raises Unmeasured if one is not found in time."""
        deadline = perf_counter() + timeout_s
        while self._waiting:
            if perf_counter() > deadline:
                raise Unmeasured(f"{len(self._waiting)} events were not found within {timeout_s:.0f} s after the last was published")
            self.search_for(self._every_s)

    def _find(self) -> None:
        while self._waiting and self._waiting[0].shown_by(self._search(self._waiting[0])):
            event = self._waiting.popleft()
            event.latency_s = perf_counter() - event.published

    def _search(self, event: Event) -> list[Passage]:
        began = perf_counter()
        try:
            return list(search(self._database, self, event.tenant, SearchRequest(_QUESTION, (event.reader,), "vector", TOP)))
        finally:
            self.took.append(perf_counter() - began)


def publish_at_rate(events: Iterable[Event], rate: float, publish: Callable[[Event], None], reader: Reader) -> None:
    """Publish `rate` events per second, evenly, and search meanwhile. The last ones may not have been found when it returns."""
    began = perf_counter()
    for done, event in enumerate(events, start=1):
        publish(event)
        reader.expect(event)
        reader.search_for(began + done / rate - perf_counter())


def latencies(events: Iterable[Event]) -> list[float]:
    """Return the latencies of the events that were found, in seconds."""
    return [event.latency_s for event in events if event.latency_s is not None]


def percentile(values: Sequence[float], share: float) -> float:
    """Return a percentile by the nearest-rank method. Raises Unmeasured if there are no values."""
    if not values:
        raise Unmeasured("no event was measured")
    return sorted(values)[max(0, ceil(share * len(values)) - 1)]


_SQL = statements("benchmarks", "stream.sql")
