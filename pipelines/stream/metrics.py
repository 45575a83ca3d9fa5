"""The metrics page: what one stream process does, counted for Prometheus. What the names mean to an operator is in docs/operations.md.

A label is a tenant, a stage, a fate, a status, a reason code, a task, a count or a slot: never a value from a document.
Histograms have no label for the tenant: a thousand tenants times every bucket would be too many series.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Thread
from time import time
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, start_http_server

from core.errors import ConfigurationError
from pipelines.stream.observer import Heartbeat, Observer

if TYPE_CHECKING:
    from core.ledger.stage import Report
    from events.landing import Landed

HOST = "127.0.0.1"
PORTS = 64
"""Ports to try, from the configured one on: each slot of a host serves its metrics on the first that is free."""

STAGE_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
LATENCY_S = (0.05, 0.1, 0.15, 0.25, 0.35, 0.5, 0.75, 1, 2, 5, 10, 30, 60, 300, 900, 3600)
STATUSES = ("done", "deleted", "failed", "waiting", "superseded", "revalidated")


_MAINTENANCE = "maintenance/"
"""Begins the counts of maintenance in a stage's tally (`pipelines.app.Headrace.step`)."""


class Metrics(Observer):
    """Counts what a stream reports, in a registry of its own. Thread-safe."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each: when this process first counted it
        page = self.registry = CollectorRegistry()
        self._events = Counter("headrace_events", "Events landed, by fate.", ("tenant", "fate"), registry=page)
        self._documents = Counter("headrace_documents", "Documents that a stage took.", ("tenant", "stage", "status"), registry=page)
        self._failures = Counter(
            "headrace_failures", "Events refused, and documents left out.", ("tenant", "stage", "reason"), registry=page
        )
        self._maintenance = Counter("headrace_maintenance", "What maintenance tasks did.", ("tenant", "task", "count"), registry=page)
        self._stage_s = Histogram("headrace_stage_seconds", "A micro-batch's time.", ("stage",), registry=page, buckets=STAGE_S)
        self._latency_s = Histogram(
            "headrace_latency_seconds", "From publishing to a stage's commit.", ("stage",), registry=page, buckets=LATENCY_S
        )
        self._lag = Gauge("headrace_lag_events", "Events not landed, of this slot's partitions.", ("tenant",), registry=page)
        self._in_flight = Gauge("headrace_documents_in_flight", "Documents landed that wait for a stage.", ("tenant",), registry=page)
        self._waits = Gauge("headrace_waits", "1 for a stage or server that is waited for.", ("stage",), registry=page)
        self._tenants = Gauge("headrace_tenants", "Tenants that this slot reads for.", registry=page)
        self._partitions = Gauge("headrace_partitions", "Partitions that this slot reads.", registry=page)
        self._up = Gauge("headrace_slot_up", "1 while the slot streams.", ("slot",), registry=page)
        self._seen = Gauge(
            "headrace_slot_seen_timestamp_seconds", "The last sign of life, in seconds since 1970.", ("slot",), registry=page
        )

    def landed(self, tenant: str, landed: Landed, seconds: float) -> None:
        for fate, count in landed.fates.items():
            self._events.labels(tenant, fate).inc(count)
        self._left_out(tenant, "land", landed.reasons)
        self._stage_s.labels("land").observe(seconds)

    def ran(self, tenant: str, report: Report) -> None:
        for status in STATUSES:
            if count := getattr(report, status):
                self._documents.labels(tenant, report.stage, status).inc(count)
        self._left_out(tenant, report.stage, report.reasons)
        after_stage = {name.removeprefix(_MAINTENANCE): n for name, n in report.tally.items() if name.startswith(_MAINTENANCE)}
        self.maintained(tenant, after_stage)
        self._stage_s.labels(report.stage).observe(report.seconds)
        for latency_s in report.latencies:
            self._latency_s.labels(report.stage).observe(latency_s)

    def maintained(self, tenant: str, counts: Mapping[str, int]) -> None:
        for name, number in counts.items():
            task, _, count = name.partition("/")
            if number:
                self._maintenance.labels(tenant, task, count).inc(number)

    def heartbeat(self, beat: Heartbeat) -> None:
        _replace(self._lag, beat.lag)
        _replace(self._in_flight, beat.waiting)
        _replace(self._waits, dict.fromkeys(beat.waits, 1))
        self._tenants.set(beat.tenants)
        self._partitions.set(beat.partitions)
        _replace(self._up, {beat.slot: 1})
        _replace(self._seen, {beat.slot: time()})

    def _left_out(self, tenant: str, stage: str, reasons: Mapping[str, int]) -> None:
        for reason, count in reasons.items():
            self._failures.labels(tenant, stage, reason).inc(count)


def _replace(gauge: Gauge, values: Mapping[str, float]) -> None:
    """Set the gauge to exactly these labels and values, one label at a time, so that no scrape finds it empty."""
    known = {sample.labels[name] for metric in gauge.collect() for sample in metric.samples for name in sample.labels}
    for label in known - values.keys():
        gauge.remove(label)
    for label, value in values.items():
        gauge.labels(label).set(value)


@contextmanager
def exposed(port: int | None, host: str = HOST) -> Iterator[Observer]:
    """An observer whose counts are at `http://host:port/metrics` until the block ends; one that ignores everything if `port` is None."""
    if port is None:
        yield Observer()
        return
    metrics = Metrics()
    with served(metrics, port, host):
        yield metrics


@contextmanager
def served(metrics: Metrics, port: int, host: str = HOST) -> Iterator[int]:
    """Serve the page at the first free port from `port` on; yields that port. Raises ConfigurationError if none is free."""
    server, thread = _listening(metrics.registry, port, host)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _listening(registry: CollectorRegistry, port: int, host: str) -> tuple[WSGIServer, Thread]:
    last = min(port + PORTS, 65_536)
    for candidate in range(port, last):
        try:
            return start_http_server(candidate, host, registry)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise ConfigurationError(f"stream.metrics_port: cannot listen at {host}:{candidate}: {error.strerror}") from None
    raise ConfigurationError(f"stream.metrics_port: no free port from {port} to {last - 1}")
