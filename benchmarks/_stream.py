"""What the stream's benchmarks share: a `headrace stream` process, texts to publish, a reader that looks for them, publishing at a rate.

The reader is what a RAG application is to the stream: another process, with a reader's login, asking `retrieval.search`. Its question is
embedded once, beforehand, and every document has an access list of its own, so that a search with that one principal gives the passages
of that one document, whatever the question, and nothing where there are none.
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
from retrieval.search import Passage, search

PATIENCE_S = 180.0
TOP = 8
"""More passages than a document of a benchmark has."""

_QUESTION = "What does it say?"


class Stream:
    """A `headrace stream --json` process. What it says of trouble is shown with the progress."""

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
        self._listening = Thread(target=self._listen, args=[self.process.stdout], daemon=True)
        self._listening.start()

    def must_live(self) -> None:
        """Raises Unmeasured where the process has ended."""
        if self.process.poll() is not None:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
            raise Unmeasured(f"the stream ended with {self.process.returncode}: {lines[-1] if lines else 'it said nothing'}")

    def end(self) -> None:
        """SIGTERM, and SIGKILL where that does not help."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._listening.join()

    def _listen(self, lines: IO[str]) -> None:
        with lines:
            for line in lines:
                if json.loads(line).keys() & {"waits", "error"}:
                    note(f"the stream says {line.strip()}")


@contextmanager
def streaming(headrace: Headrace, tenants: Sequence[str], bodies: Sequence[Sequence[str]]) -> Iterator[Stream]:
    """The process, running and warm: these texts, one event each, have gone all the way, among the tenants in turn."""
    stream = Stream(headrace)
    try:
        with publishing(headrace, tenants) as publish:
            for turn, body in enumerate(bodies):
                publish(Event(tenants[turn % len(tenants)], f"warm-up-{turn}", 1, page(turn, body, "warm")))
                if turn == 0:  # one alone, for what is loaded when it is first needed; the others find it there
                    wait_until(lambda: settled(headrace, tenants, 1), stream, "the first document came through")
        wait_until(lambda: settled(headrace, tenants, len(bodies)), stream, "the warm-up came through")
        note(f"the stream is warm after {len(bodies)} documents")
        yield stream
    finally:
        stream.end()


def wait_until(there: Callable[[], bool], stream: Stream, what: str, patience_s: float = PATIENCE_S) -> None:
    """Raises Unmeasured where `what` does not come to pass."""
    until = perf_counter() + patience_s
    while not there():
        stream.must_live()
        if perf_counter() > until:
            raise Unmeasured(f"{patience_s:.0f} s were too short until {what}")
        sleep(0.2)


def settled(headrace: Headrace, tenants: Iterable[str], published: int) -> bool:
    """Whether all that was published to these tenants has landed and passed the last stage."""
    return sum(number(headrace, tenant, "landed") for tenant in tenants) >= published and not any(map(headrace.due, tenants))


def number(headrace: Headrace, tenant: str, name: str) -> int:
    """What one of the statements in stream.sql counts."""
    with headrace.session(tenant).transaction() as connection:
        return int(connection.execute(statements("benchmarks", "stream.sql")[name]).fetchall()[0]["number"])


@dataclass
class Event:
    """One event of one document; `text` None is a delete. `mark` is a word that this version's text has, `old_mark` one that only the
    version before had. `latency_s` from just before it was published until a search showed it, once one has."""

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
        """Whether a reader gets this version and nothing of the one before; after a delete, nothing."""
        text = " ".join(passage.text for passage in passages)
        if self.text is None:
            return not passages
        return self.mark in text and (self.old_mark is None or self.old_mark not in text)


@contextmanager
def publishing(headrace: Headrace, tenants: Iterable[str]) -> Iterator[Callable[[Event], None]]:
    """Hands an event over to Kafka, as its tenant's source system would, and notes when."""
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
    """Looks for what was published, the oldest first: one search every `every_s` while something is not seen yet.

    What waits behind the oldest is looked for when that was seen: a latency is never told too short, and at most by the time between two
    searches and one search too long. `took` holds each search's seconds.
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
        """The one question's vector, `(1, dim)`: no model runs while the clock does."""
        return self._vector

    def expect(self, event: Event) -> None:
        self._waiting.append(event)

    def forget(self) -> None:
        """Look no more for what was not seen yet."""
        self._waiting.clear()

    def look(self, seconds: float) -> None:
        """Look for so long."""
        until = perf_counter() + seconds
        while (left := until - perf_counter()) > 0:
            if self._waiting:
                self._see()
            sleep(max(0.0, min(self._every_s, left, until - perf_counter())))

    def look_for_all(self, patience_s: float = PATIENCE_S) -> None:
        """Raises Unmeasured where something is never seen."""
        until = perf_counter() + patience_s
        while self._waiting:
            if perf_counter() > until:
                raise Unmeasured(f"{len(self._waiting)} events were not to be seen within {patience_s:.0f} s after the last was published")
            self.look(self._every_s)

    def _see(self) -> None:
        while self._waiting and self._waiting[0].shown_by(self._search(self._waiting[0])):
            seen = self._waiting.popleft()
            seen.latency_s = perf_counter() - seen.published

    def _search(self, event: Event) -> list[Passage]:
        began = perf_counter()
        try:
            return search(self._database, self, event.tenant, _QUESTION, principals=[event.reader], top=TOP)
        finally:
            self.took.append(perf_counter() - began)


def at_a_rate(events: Iterable[Event], rate: float, publish: Callable[[Event], None], reader: Reader) -> None:
    """Publish so many a second, evenly, and look meanwhile. The last ones may not have been seen when it returns."""
    began = perf_counter()
    for done, event in enumerate(events, start=1):
        publish(event)
        reader.expect(event)
        reader.look(began + done / rate - perf_counter())


def latencies(events: Iterable[Event]) -> list[float]:
    """Of those that were seen."""
    return [event.latency_s for event in events if event.latency_s is not None]


def percentile(values: Sequence[float], share: float) -> float:
    """By nearest rank. Raises Unmeasured where there are none."""
    if not values:
        raise Unmeasured("nothing was published long enough to be measured")
    return sorted(values)[max(0, ceil(share * len(values)) - 1)]
