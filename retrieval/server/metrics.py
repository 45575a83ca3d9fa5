"""The metrics page. A label is a route, a status or a reason code: no tenant, as whoever reaches the port reads the page, and no text."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Counts requests, in a registry of its own. Thread-safe."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each: when this process first counted it
        page = self._page = CollectorRegistry()
        self._requests = Counter("headrace_requests", "Requests answered.", ("route", "status"), registry=page)
        self._refusals = Counter("headrace_refusals", "Requests refused.", ("reason",), registry=page)
        self._seconds = Histogram("headrace_request_seconds", "A request's time.", ("route",), registry=page, buckets=SECONDS)
        self.in_flight = Gauge("headrace_requests_in_flight", "Requests that are being answered.", registry=page)

    def answered(self, route: str, status: int, seconds: float) -> None:
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def refused(self, reason: str) -> None:
        self._refusals.labels(reason).inc()

    def page(self) -> bytes:
        return generate_latest(self._page)
