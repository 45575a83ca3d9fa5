"""Around every request: how large its body may be and how long it may take to arrive, headers of every answer, counts, and the last resort.

ASGI, outside of the application, so that nothing gets in or out beside it.
"""

from __future__ import annotations

import asyncio
import logging
from time import perf_counter
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import HeadraceError, place
from retrieval.server.metrics import Metrics

HEADERS: Final = {
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
}
"""Of every answer that has none of its own. There is no header of CORS: a page of another origin reads nothing."""

_log = logging.getLogger("headrace.serve")


class Guard:
    """Wraps an application that answers its own errors. `most_bytes`: of a body, which has to arrive within `body_s` seconds."""

    def __init__(self, app: ASGIApp, metrics: Metrics, most_bytes: int, body_s: float) -> None:
        self._app, self._metrics, self._most_bytes, self._body_s = app, metrics, most_bytes, body_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with self._metrics.in_flight.track_inprogress():
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, status = perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(pair for pair in HEADERS.items() if pair[0] not in own)]
            await send(message)

        try:
            await self._app(scope, self._bounded(receive), sending)
        except Exception as error:  # noqa: BLE001  # answered already; its message may quote a question, and is not logged
            _log.error("bug: %s", place(error))
        finally:
            self._metrics.answered(_route(scope), status, perf_counter() - started)

    def _bounded(self, receive: Receive) -> Receive:
        """Raises HeadraceError `body-too-large` or `request-timeout`."""
        left, until, ended = self._most_bytes, perf_counter() + self._body_s, False

        async def bounded() -> Message:
            nonlocal left, ended
            try:
                # what comes after a body is the news that the client is gone, however late
                message = await (receive() if ended else asyncio.wait_for(receive(), max(0.0, until - perf_counter())))
            except TimeoutError:
                raise HeadraceError(f"the body did not arrive within {self._body_s:g} s", reason="request-timeout") from None
            if message["type"] == "http.request":
                left -= len(message.get("body", b""))
                ended = not message.get("more_body")
            if left < 0:
                remedy = f"Send {self._most_bytes} bytes at most."
                raise HeadraceError("the body is too large", reason="body-too-large", remedy=remedy)
            return message

        return bounded


def _route(scope: Scope) -> str:
    """As it is declared, without what a caller put into it."""
    return str(getattr(scope.get("route"), "path", "other"))
