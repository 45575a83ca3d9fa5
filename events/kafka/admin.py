"""Requests to the broker through librdkafka's AdminClient: bounded in time, with our errors. What is requested belongs to the callers."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, wait
from time import monotonic
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from events.kafka.client import REQUEST_S, ClientErrors

_POLL_S = 0.2


class Admin:
    """An AdminClient whose futures are awaited by `result`. Thread-safe. As a context manager, it writes its last log lines on exit."""

    def __init__(self, properties: Mapping[str, Any]) -> None:
        self._errors = ClientErrors()
        with self._errors.translated("connecting"):
            self.client = AdminClient(self._errors.configuration(properties))

    def __enter__(self) -> Admin:
        return self

    def __exit__(self, *exc: object) -> None:
        self.client.poll(0)  # delivers the log lines that are queued

    def result(self, future: Future[Any], doing: str, *, ignored: int | None = None) -> Any:
        """The future's result, or None if it failed with the Kafka error code `ignored`.

        Raises Unavailable if the broker does not answer, HeadraceError if it refuses.
        """
        with self._errors.translated(doing):
            self._wait(future)
            error = future.exception() if future.done() else KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001
            if error is None:
                return future.result()
            if isinstance(error, KafkaException) and error.args[0].code() == ignored:
                return None
            raise error

    def _wait(self, future: Future[Any]) -> None:
        """Until the future is done or the login is refused: librdkafka would retry a refused login until its own timeout."""
        until = monotonic() + 2 * REQUEST_S
        while not wait([future], timeout=_POLL_S).done and not self._errors.refusal and monotonic() < until:
            self.client.poll(0)
